"""What is kept of measured peaks, and what becomes of a file that is not what it should be."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.memory.correction import Seen
from paddock.memory.estimate import WORKER_BYTES, Need, Settings
from paddock.memory.observed import FILE, MOST_MODELS, MOST_POINTS, Observed, peak_of
from paddock.protocol import MemoryTerms

MB = 1_000_000
FORESEEN = Need(100 * MB, 20 * MB, 30 * MB, 60 * MB)
SETTINGS = Settings(4096, 2)


def terms(tokens: int = 0, peak: int = 190, sequences: int = 1) -> MemoryTerms:
    return MemoryTerms(
        weights_bytes=100 * MB,
        runtime_bytes=55 * MB,
        load_peak_bytes=165 * MB,
        private_peak_bytes=peak * MB,
        longest_tokens=tokens,
        most_sequences=sequences if tokens else 0,
        most_tokens=tokens * sequences,
    )


def learn(observed: Observed, memory: MemoryTerms, digest: str = "a") -> bool:
    return observed.learn(digest, memory, SETTINGS, FORESEEN)


def seen(observed: Observed, digest: str = "a") -> Seen:
    found = observed.seen(digest, SETTINGS, on_accelerator=False)
    assert found is not None
    return found


def test_a_load_measures_weights_runtime_and_its_own_peak(tmp_path: Path) -> None:
    observed = Observed(tmp_path)

    assert observed.seen("a", SETTINGS, on_accelerator=False) is None
    assert learn(observed, terms())
    assert seen(observed) == Seen(100 * MB, 55 * MB + WORKER_BYTES, 10 * MB)


def test_each_form_of_the_weights_is_known_by_itself(tmp_path: Path) -> None:
    observed = Observed(tmp_path)
    observed.learn("a", terms(), replace(SETTINGS, keep_packed=True), FORESEEN)

    assert observed.seen("a", SETTINGS, on_accelerator=False) is None
    assert observed.seen("a", replace(SETTINGS, keep_packed=True), on_accelerator=False) is not None


def test_what_was_learned_outlives_the_server(tmp_path: Path) -> None:
    learn(Observed(tmp_path), terms(500))

    (point,) = seen(Observed(tmp_path)).points
    assert (point.longest_tokens, point.peak_bytes) == (500, 190 * MB + WORKER_BYTES)


def test_the_highest_peak_of_a_reach_stays(tmp_path: Path) -> None:
    observed = Observed(tmp_path)
    for peak in (190, 230, 200):
        learn(observed, terms(500, peak))

    assert [point.peak_bytes for point in seen(observed).points] == [230 * MB + WORKER_BYTES]


def test_the_same_again_is_no_news(tmp_path: Path) -> None:
    observed = Observed(tmp_path)

    assert learn(observed, terms(500))
    assert not learn(observed, terms(500))


def test_of_many_reaches_the_farthest_stay(tmp_path: Path) -> None:
    observed = Observed(tmp_path)
    for step in range(1, MOST_POINTS + 5):
        learn(observed, terms(256 * step))

    assert seen(observed).points[0].longest_tokens == 256 * 5
    assert len(seen(observed).points) == MOST_POINTS


def test_of_many_models_the_latest_stay(tmp_path: Path) -> None:
    observed = Observed(tmp_path)
    for number in range(MOST_MODELS + 1):
        learn(observed, terms(), str(number))

    assert observed.seen("0", SETTINGS, on_accelerator=False) is None
    assert Observed(tmp_path).seen("1", SETTINGS, on_accelerator=False) is not None


def test_devices_are_kept_apart(tmp_path: Path) -> None:
    observed = Observed(tmp_path, accelerator="H200")
    on_gpu = MemoryTerms(
        weights_bytes=9, load_peak_bytes=10, peak_bytes=20, most_sequences=1, longest_tokens=5, is_on_accelerator=True
    )

    learn(observed, on_gpu)

    assert observed.seen("a", SETTINGS, on_accelerator=False) is None
    found = observed.seen("a", SETTINGS, on_accelerator=True)
    assert found is not None
    assert (found.runtime_bytes, found.load_bytes) == (0, 1)
    assert found.points[0].peak_bytes == 20 + FORESEEN.runtime_bytes


@pytest.mark.parametrize("content", [b"", b"{", b'{"seen": {"a": 3}}', b"\xff\xfe", b'{"other": 1}'])
def test_a_damaged_file_is_no_peaks_and_said_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / FILE).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        observed = Observed(tmp_path)

    assert "peaks_unreadable" in caplog.text
    assert learn(observed, terms())
    assert seen(Observed(tmp_path)).weights_bytes == 100 * MB


def test_a_folder_that_cannot_be_written_is_said_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    observed = Observed(tmp_path / "file" / "inside")
    with caplog.at_level(logging.WARNING):
        assert learn(observed, terms())

    assert "peaks_not_kept" in caplog.text
    assert seen(observed).weights_bytes == 100 * MB


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    learn(Observed(tmp_path), terms())

    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_peak_counts_what_its_runner_cannot_see() -> None:
    """On the CPU the worker beside it, with an accelerator its own process."""
    on_cpu, on_gpu = terms(500), MemoryTerms(peak_bytes=20 * MB, is_on_accelerator=True)

    assert peak_of(on_cpu, FORESEEN) == 190 * MB + WORKER_BYTES
    assert peak_of(on_gpu, FORESEEN) == 80 * MB
    assert peak_of(MemoryTerms(), FORESEEN) == 0


def test_pictures_in_other_tiles_or_parts_in_turn_are_another_form_of_a_model(tmp_path: Path) -> None:
    observed = Observed(tmp_path)
    painted = replace(SETTINGS, picture_pixels=4096, tile_pixels=512)
    observed.learn("a", terms(4096), painted, FORESEEN)

    assert observed.seen("a", replace(painted, picture_pixels=64, parallel=4), on_accelerator=False) is not None
    assert observed.seen("a", replace(painted, tile_pixels=1024), on_accelerator=False) is None
    assert observed.seen("a", replace(painted, staged=True), on_accelerator=False) is None
