"""An exponential for MLX arrays on x86-64 processors under Linux, where MLX's own takes seven times as long.

MLX has no operation that calls the C library's `expf`, but its `arcsinh`, which no model uses, calls `asinhf`. The one
address of that call is overwritten, as `blas` does with that of the matrix product; the result is checked.
"""

from __future__ import annotations

import ctypes
import logging
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from paddock.runner import got

logger = logging.getLogger(__name__)

Operation = Callable[[mx.array], mx.array]

_TAKEN = "asinhf"
_TOLERANCE = 1e-6


def install() -> Operation:
    """The quickest exponential of single-precision arrays on the CPU: this one, or MLX's own where it cannot be had.

    Afterwards `mx.arcsinh` is made of other operations, and nothing is compiled: compiled code would call the real
    one. Calling it again changes nothing.
    """
    if isinstance(mx.arcsinh, _Arcsinh):
        return mx.arcsinh.original
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return mx.exp
    try:
        slots = got.find_slots(ctypes.CDLL(str(_mlx_library())), _TAKEN)
        address = ctypes.cast(ctypes.CDLL("libm.so.6").expf, ctypes.c_void_p).value
    except (OSError, KeyError, AttributeError):
        logger.debug("the C library's exponential cannot be used", exc_info=True)
        return mx.exp
    if len(slots) != 1 or address is None:
        return mx.exp
    return _replaced(slots[0], address)


def _replaced(slot: int, address: int) -> Operation:
    own = mx.arcsinh
    before = got.read_slot(slot)
    try:
        got.write_slot(slot, address)
    except OSError:
        logger.debug("MLX's table of functions cannot be changed", exc_info=True)
        return mx.exp
    if not _is_right(own):
        got.write_slot(slot, before)
        return mx.exp
    module: Any = mx
    module.arcsinh = _Arcsinh(own)
    mx.disable_compile()
    return own


class _Arcsinh:
    """Takes the place of the operation that has become an exponential."""

    def __init__(self, original: Operation) -> None:
        self.original = original

    def __call__(self, a: mx.array) -> mx.array:
        size = mx.abs(a)
        return mx.sign(a) * mx.log1p(size + size * size / (1 + mx.sqrt(size * size + 1)))


def _is_right(exponential: Operation) -> bool:
    values = np.append(np.linspace(-87, 88, 1001, dtype=np.float32), np.float32("-inf"))
    with mx.stream(mx.cpu):
        found = np.array(exponential(mx.array(values)))
    expected = np.exp(values.astype(np.float64))
    return bool(np.allclose(found, expected, rtol=_TOLERANCE, atol=0))


def _mlx_library() -> Path:
    package = sys.modules["mlx.core"].__file__
    assert package is not None
    return Path(package).parent / "lib" / "libmlx.so"
