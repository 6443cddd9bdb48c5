import logging
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy
import pytest

from paddock.runner import blas, got

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only on a Linux CPU is the BLAS replaced")
SOURCES = Path(__file__).parents[2] / "src"


@pytest.fixture
def slots():
    """The slots of MLX's product, which are as they were when the test ends."""
    found = got.find_slots(_libmlx(), "cblas_sgemm")
    before = [got.read_slot(slot) for slot in found]
    yield found
    for slot, address in zip(found, before, strict=True):
        got.write_slot(slot, address)


def _libmlx():
    import ctypes

    return ctypes.CDLL(str(blas._mlx_library()))


def openblas() -> blas.OpenBlas:
    try:
        return blas.load_openblas(blas._candidates())
    except blas.BlasUnavailable:
        pytest.skip("no OpenBLAS is installed here")


def test_mlx_keeps_the_address_of_its_product_in_a_slot(slots):
    assert len(slots) == 1
    assert got.read_slot(slots[0]) != 0
    assert got.find_slots(_libmlx(), "no_such_function") == []


def test_products_equal_numpys_after_the_replacement(slots):
    library = openblas()
    blas.replace(library, blas.is_right)

    assert [got.read_slot(slot) for slot in slots] == [library.sgemm]
    random = numpy.random.default_rng(1)
    left, right = (random.standard_normal(shape, dtype=numpy.float32) for shape in ((37, 129), (129, 64)))
    product = mx.array(left) @ mx.array(right)
    numpy.testing.assert_allclose(numpy.array(product), left @ right, rtol=1e-5, atol=1e-4)


def test_a_library_that_computes_wrongly_is_taken_out_again(slots, caplog):
    before = [got.read_slot(slot) for slot in slots]

    with pytest.raises(blas.BlasUnavailable, match="wrong product"):
        blas.replace(openblas(), lambda: False)

    assert [got.read_slot(slot) for slot in slots] == before
    assert blas.is_right()


def test_off_is_off(slots, caplog):
    before = [got.read_slot(slot) for slot in slots]
    for word in ("off", "0", "OFF", "false"):
        with caplog.at_level(logging.INFO):
            assert blas.install({"PADDOCK_BLAS": word}, has_cuda=False) == "reference"

    assert [got.read_slot(slot) for slot in slots] == before
    assert "PADDOCK_BLAS is off" in caplog.text


def test_with_cuda_and_on_macos_nothing_is_touched(slots, monkeypatch):
    before = [got.read_slot(slot) for slot in slots]

    assert blas.install({}, has_cuda=True) == "MLX's own"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert blas.install({}, has_cuda=False) == "MLX's own"

    assert [got.read_slot(slot) for slot in slots] == before


@pytest.mark.parametrize("content", [None, b"", b"no library"], ids=["absent", "empty", "garbage"])
def test_a_broken_library_falls_back_with_one_line_in_the_log(slots, tmp_path, monkeypatch, caplog, content):
    if content is not None:
        (tmp_path / "lib.so").write_bytes(content)
    monkeypatch.setattr(blas, "_candidates", lambda: [(tmp_path / "lib.so", "scipy_")])
    before = [got.read_slot(slot) for slot in slots]

    with caplog.at_level(logging.INFO):
        assert blas.install({}, has_cuda=False) == "reference"

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot be loaded" in caplog.text
    assert [got.read_slot(slot) for slot in slots] == before


def test_without_any_openblas_the_log_says_how_to_get_one(monkeypatch, caplog):
    monkeypatch.setattr(blas, "_candidates", list)

    with caplog.at_level(logging.INFO):
        assert blas.install({}, has_cuda=False) == "reference"

    assert "scipy-openblas32" in caplog.text


def test_an_openblas_with_wide_integers_is_refused():
    """numpy's own is one: MLX would hand it integers of half the size."""
    [library] = sorted(Path(numpy.__file__).parents[1].glob("numpy.libs/libscipy_openblas64_*"))

    with pytest.raises(blas.BlasUnavailable):
        blas.load_openblas([(library, "scipy_")])


def test_a_slot_in_protected_memory_is_written_and_protected_again():
    import ctypes
    import mmap

    page = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    got._protect(address, 1)

    got.write_slot(address, 12345)

    assert got.read_slot(address) == 12345
    assert not got._is_writable(address)
    got._protect(address, 3)


def test_a_process_of_its_own_generates_the_same_text_either_way(tiny_model):
    openblas()
    code = (
        "import os, sys; from pathlib import Path\n"
        "from paddock.protocol import CompletionRequest, Sampling, Done\n"
        "from paddock.runner.engines.base import EngineOptions\n"
        "from paddock.runner.engines.registry import choose_blas, make_engine\n"
        "engine = make_engine('text', EngineOptions(Path(sys.argv[1]), num_ctx=512))\n"
        "engine.load(lambda share: None)\n"
        "greedy = Sampling(temperature=0, num_predict=40)\n"
        "ask = CompletionRequest(prompt='hello', sampling=greedy, return_context=True)\n"
        "engine.submit(1, engine.prepare(ask))\n"
        "while engine.has_work: frames = engine.step()\n"
        "print(choose_blas()); print(frames[-1][1].context)\n"
    )
    answers = [
        subprocess.run(
            [sys.executable, "-c", code, str(tiny_model)],
            env={"PYTHONPATH": str(SOURCES), "PADDOCK_BLAS": setting, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for setting in ("off", "on")
    ]

    assert answers[0][0] == "reference"
    assert answers[1][0].startswith("OpenBLAS")
    assert answers[0][1] == answers[1][1]


@pytest.mark.parametrize(
    ("processors", "runners", "threads"), [(16, 1, 15), (16, 2, 7), (16, 3, 5), (16, 40, 1), (2, 1, 1), (1, 1, 1)]
)
def test_runners_divide_all_processors_but_one(processors, runners, threads):
    assert blas.part_of(processors, runners) == threads


def test_the_threads_of_a_library_in_use_are_changed_and_no_others(slots):
    library = openblas()
    assert library.threads >= 1
    blas.use_threads(1, {blas.SETTING: "off"}, has_cuda=False)
    blas.replace(library, blas.is_right)
    try:
        blas.use_threads(2, {}, has_cuda=False)
        assert openblas().threads == 2
        blas.use_threads(1, {}, has_cuda=True)
        assert openblas().threads == 2
        assert blas.is_right()
    finally:
        library.set_threads(library.threads)
