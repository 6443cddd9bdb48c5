"""Products of few rows on the CPU: large matrices are worked on strip by strip, small ones are turned around in memory.

OpenBLAS works on a small matrix where it lies. A large one it first copies into another order, which for the few rows
of a decoding step takes longer than the product itself: three times as long for a single row. Strips are small. What
is between is copied more quickly in the other order.
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


class TurnedLinear(nn.Linear):
    """A linear layer whose weights lie in memory in the order in which they are used.

    It keeps that form as well, and with a first dimension for what has a single one there: transposing and reshaping
    are operations too, and MLX takes longer to begin one than a small product takes.
    """

    _turned: mx.array
    """(inner, outer)"""
    _alone: mx.array
    """(1, inner, outer)"""

    def __call__(self, x: mx.array) -> mx.array:
        """As nn.Linear."""
        turned = self._alone if x.ndim == 3 and x.shape[0] == 1 else self._turned
        return mx.addmm(self.bias, x, turned) if "bias" in self else x @ turned


class StripedLinear(nn.Linear):
    """A linear layer that works in strips."""

    def __call__(self, x: mx.array) -> mx.array:
        """As nn.Linear."""
        result = product(x, self.weight)
        return result + self.bias if "bias" in self else result


class StripedEmbedding(nn.Embedding):
    """An embedding that is also used to make logits."""

    def as_linear(self, x: mx.array) -> mx.array:
        """As nn.Embedding."""
        return product(x, self.weight)


# A module becomes one of these by changing its class: whoever holds it need not know.
_STRIPED: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: StripedLinear, nn.Embedding: StripedEmbedding}


def use_strips(model: nn.Module) -> None:
    """Have the large dense layers of a model work in strips. Nothing is copied."""
    for module in model.modules():
        striped = _STRIPED.get(type(module))
        if striped is not None and is_large(module.weight):
            module.__class__ = striped


def turn_around(model: nn.Module) -> None:
    """Have the other dense layers keep their weights the other way round: in memory, not in shape."""
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.dtype == mx.float32:
            module.__class__ = TurnedLinear
            module._turned = mx.contiguous(module.weight.T)
            module._alone, module.weight = module._turned[None], module._turned.T
            mx.eval(module._alone, module.weight)


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
