"""Products of few rows with a large matrix on the CPU, strip by strip of the matrix.

OpenBLAS works on a small matrix where it lies. A large one it first copies into another order, which for the few rows
of a decoding step takes longer than the product itself: three times as long for a single row. Strips are small.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

LARGE_SIZE = 1 << 19
"""Numbers in a matrix that is worked on in strips; smaller ones lose as much with more products as they win."""
_MOST_MULTIPLICATIONS = 1_000_000
"""Of one product that is done without copies: what OpenBLAS 0.3 takes for small on x86-64 with AVX-512."""
MOST_THREADS = 3
"""Of the BLAS: strips are worked on by one thread, and make up for the copies of a whole matrix by so many."""
_STRIPS = (256, 128, 64, 32, 16)
"""Rows of the matrix; with fewer the calls weigh more than the copies."""


class StripedLinear(nn.Linear):
    """A linear layer; a module becomes one by changing its class."""

    def __call__(self, x: mx.array) -> mx.array:
        """As nn.Linear."""
        result = product(x, self.weight)
        return result + self.bias if "bias" in self else result


class StripedEmbedding(nn.Embedding):
    """An embedding that is also used to make logits."""

    def as_linear(self, x: mx.array) -> mx.array:
        """As nn.Embedding."""
        return product(x, self.weight)


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: StripedLinear, nn.Embedding: StripedEmbedding}


def use_strips(model: nn.Module) -> None:
    """Have the large dense layers of a model work in strips. Nothing is copied."""
    for module in model.modules():
        striped = _CLASSES.get(type(module))
        if striped is not None and is_large(module.weight):
            module.__class__ = striped


def is_large(weight: mx.array) -> bool:
    """Whether a matrix is worth it: strips are for single precision, which alone the BLAS has."""
    return bool(weight.dtype == mx.float32 and weight.ndim == 2 and weight.size >= LARGE_SIZE)


def product(x: mx.array, weight: mx.array) -> mx.array:
    """`x @ weight.T` for x (..., inner) and weight (outer, inner), up to rounding."""
    outer, inner = weight.shape
    rows = x.size // inner
    strip = _strip_of(rows, inner)
    if not strip or x.dtype != weight.dtype:
        return x @ weight.T
    whole = outer - outer % strip
    flat = x.reshape(1, rows, inner).swapaxes(1, 2)
    result = (weight[:whole].reshape(-1, strip, inner) @ flat).reshape(whole, rows).T
    if whole < outer:
        result = mx.concatenate([result, x.reshape(rows, inner) @ weight[whole:].T], axis=1)
    return result.reshape(*x.shape[:-1], outer)


def _strip_of(rows: int, inner: int) -> int:
    """Rows of the matrix to take at a time; 0 for all of them."""
    return next((strip for strip in _STRIPS if 0 < rows * inner * strip <= _MOST_MULTIPLICATIONS), 0)
