"""OpenBLAS under MLX on a Linux CPU: MLX's own wheel brings the reference BLAS, which is many times slower.

MLX calls one function for products of single-precision matrices, `cblas_sgemm`. After MLX is imported, the slot in
which it keeps that function's address is overwritten with OpenBLAS's. Of the ways to put another BLAS in place, this
is the one that leaves every file alone, needs neither a compiler nor a tool at run time, works whatever the library
calls its symbols (the wheel from PyPI prefixes them), changes one function of one library and nothing else in the
process, and can be taken back: products of small whole numbers, whose results are exact, are compared with numpy's
right after, and a single difference puts the reference BLAS back. LAPACK stays MLX's own.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import importlib.util
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from paddock.runner import got

logger = logging.getLogger(__name__)

SETTING = "PADDOCK_BLAS"
_OFF = ("off", "0", "false", "no", "f")
_FUNCTION = "cblas_sgemm"
_WHEEL = "scipy_openblas32"
_WIDE_INTEGERS = "USE64BITINT"


@dataclass(frozen=True)
class OpenBlas:
    """A loaded OpenBLAS whose integers have 32 bits, as MLX's calls have."""

    version: str
    sgemm: int
    """Address of the product."""
    threads: int
    set_threads: Callable[[int], object]
    """How many its products use from here on."""


class BlasUnavailable(Exception):
    """Why OpenBLAS cannot be used, as a clause for the log."""


def install(variables: Mapping[str, str], *, has_cuda: bool) -> str:
    """Have MLX, which must have been imported, use OpenBLAS; returns and logs the name of the BLAS in use.

    On macOS MLX uses Apple's Accelerate, with CUDA the GPU: both are left alone.
    """
    if sys.platform != "linux" or has_cuda:
        return "MLX's own"
    if _is_off(variables):
        logger.info("Matrix products run on MLX's reference BLAS: %s is off", SETTING)
        return "reference"
    try:
        library = load_openblas(_candidates())
        replace(library, is_right)
    except BlasUnavailable as reason:
        logger.warning("Matrix products run on MLX's reference BLAS, which is slow: %s", reason)
        return "reference"
    logger.info("Matrix products run on %s with %d threads", library.version, library.threads)
    return library.version


def _is_off(variables: Mapping[str, str]) -> bool:
    return variables.get(SETTING, "").strip().lower() in _OFF


def part_of(processors: int, runners: int) -> int:
    """The threads of one of so many runners that work on a machine: they divide all processors but one, which is left
    to everything else. At least one."""
    return max(1, (processors - 1) // max(1, runners))


def use_threads(count: int, variables: Mapping[str, str], *, has_cuda: bool) -> None:
    """Have OpenBLAS use so many threads from here on, if `install` has put it in place."""
    if sys.platform != "linux" or has_cuda or _is_off(variables):
        return
    with contextlib.suppress(BlasUnavailable, OSError, KeyError):
        library = load_openblas(_candidates())
        if library.threads != count and _is_in_use(library):
            library.set_threads(count)
            logger.info("Matrix products use %d threads", count)


def threads() -> int:
    """How many threads MLX's products on the CPU have; 0 if they are not OpenBLAS's."""
    with contextlib.suppress(BlasUnavailable, OSError, KeyError):
        library = load_openblas(_candidates())
        return library.threads if _is_in_use(library) else 0
    return 0


def _is_in_use(library: OpenBlas) -> bool:
    slots = got.find_slots(ctypes.CDLL(str(_mlx_library())), _FUNCTION)
    return library.sgemm in map(got.read_slot, slots)


def _candidates() -> list[tuple[Path | str, str]]:
    """Libraries to try and the prefix of their symbols: the wheel from PyPI, then the system's."""
    found: list[tuple[Path | str, str]] = []
    spec = importlib.util.find_spec(_WHEEL)
    if spec is not None and spec.origin is not None:
        found.append((Path(spec.origin).parent / "lib" / "libscipy_openblas.so", "scipy_"))
    if name := ctypes.util.find_library("openblas"):
        found.append((name, ""))
    return found


def load_openblas(candidates: list[tuple[Path | str, str]]) -> OpenBlas:
    """The first of these libraries that can be used. BlasUnavailable names the problem of the last one."""
    problem = "no OpenBLAS is installed (pip install scipy-openblas32)"
    for path, prefix in candidates:
        try:
            library = ctypes.CDLL(str(path))
            get_config = getattr(library, f"{prefix}openblas_get_config")
            get_config.restype = ctypes.c_char_p
            config = get_config().decode(errors="replace")
            sgemm = ctypes.cast(getattr(library, f"{prefix}{_FUNCTION}"), ctypes.c_void_p).value
            threads = int(getattr(library, f"{prefix}openblas_get_num_threads")())
            set_threads = getattr(library, f"{prefix}openblas_set_num_threads")
        except (OSError, AttributeError) as error:
            logger.debug("OpenBLAS cannot be loaded", exc_info=error)
            problem = "the OpenBLAS that is installed cannot be loaded"
            continue
        if _WIDE_INTEGERS in config:
            problem = "the OpenBLAS that is installed takes integers of 64 bits, and MLX gives 32"
            continue
        assert sgemm is not None  # a function that was found has an address
        return OpenBlas(" ".join(config.split()[:2]), sgemm, threads, set_threads)
    raise BlasUnavailable(problem)


def replace(library: OpenBlas, is_right: Callable[[], bool]) -> None:
    """Point MLX at this library, and back again if its products are not `is_right`. BlasUnavailable says why not."""
    try:
        slots = got.find_slots(ctypes.CDLL(str(_mlx_library())), _FUNCTION)
        if not slots:
            raise BlasUnavailable("this version of MLX calls no BLAS that could be replaced")
        before = [got.read_slot(slot) for slot in slots]
        _write_all(slots, [library.sgemm] * len(slots))
        if not is_right():
            _write_all(slots, before)
            raise BlasUnavailable(f"{library.version} computed a wrong product")
    except (OSError, KeyError) as error:
        logger.debug("MLX's table of functions cannot be changed", exc_info=error)
        raise BlasUnavailable("MLX's table of functions cannot be changed on this system") from None


def _write_all(slots: list[int], addresses: list[int]) -> None:
    for slot, address in zip(slots, addresses, strict=True):
        got.write_slot(slot, address)


def _mlx_library() -> Path:
    package = sys.modules["mlx.core"].__file__
    assert package is not None
    return Path(package).parent / "lib" / "libmlx.so"


def is_right() -> bool:
    """Whether MLX's products on the CPU equal numpy's, for every layout that it passes on: exactly, since all sums
    are whole numbers that single precision holds."""
    import mlx.core as mx
    import numpy

    random = numpy.random.default_rng(0)
    with mx.stream(mx.cpu):
        for rows, inner, columns in ((1, 64, 48), (17, 33, 9), (128, 96, 160)):
            left = random.integers(-8, 9, (rows, inner)).astype(numpy.float32)
            right = random.integers(-8, 9, (inner, columns)).astype(numpy.float32)
            a, b = mx.array(left), mx.array(right)
            plain, turned = a @ b, mx.array(left.T.copy()).T @ mx.array(right.T.copy()).T
            batched = mx.stack([a, a]) @ mx.stack([b, b])
            added = mx.addmm(mx.ones((rows, columns)), a, b)
            expected = left @ right
            results = (plain, turned, batched[0], batched[1], added - 1)
            if not all(numpy.array_equal(numpy.array(result), expected) for result in results):
                return False
    return True
