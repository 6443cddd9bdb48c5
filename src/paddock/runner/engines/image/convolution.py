"""Norms and convolutions of whole pictures, in bands of rows: the same numbers with a fraction of the memory.

Arrays are [batch, height, width, channels].
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

from paddock.runner.engines.image.layers import settle

_EPSILON = 1e-6
_NEIGHBOURS = 9
_BAND_VALUES = 16 * 1024 * 1024
"""Numbers that are written out at once on the way from one picture to the next."""


def _written_neighbours() -> int:
    """So many numbers a convolution writes out for each of a cell's channels."""
    return _NEIGHBOURS if mx.default_device() == mx.cpu else 1


Rows = Callable[[int, int], mx.array]
"""Gives the rows of a picture from the first up to the second: [batch, rows, width, channels]."""


def bands_of(height: int, values_per_row: int) -> list[tuple[int, int]]:
    """Rows in bands of a bounded number of values, as pairs of the first and the one after the last; all begin at even
    rows."""
    rows = max(2, _BAND_VALUES // values_per_row // 2 * 2)
    return [(start, min(height, start + rows)) for start in range(0, height, rows)]


def _joined(bands: list[mx.array]) -> mx.array:
    return bands[0] if len(bands) == 1 else settle(mx.concatenate(bands, axis=1))


class GroupNorm(nn.Module):
    """Each group of channels gets mean 0 and variance 1 over the picture, then each channel a scale and a shift.

    Computed in float32, band by band: nothing of the size of the picture is written out on the way.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self._groups = groups
        self.weight = mx.ones((channels,))
        self.bias = mx.zeros((channels,))

    def __call__(self, cells: mx.array) -> mx.array:
        return self._normed(cells, *self._statistics(cells))

    def active_rows(self, cells: mx.array) -> Rows:
        """Rows of the normed cells after SiLU. Statistics, of all of them, are taken once."""
        mean, scale = self._statistics(cells)
        return lambda start, end: nn.silu(self._normed(cells[:, start:end], mean, scale))

    def _normed(self, cells: mx.array, mean: mx.array, scale: mx.array) -> mx.array:
        return ((cells.astype(mx.float32) - mean) * scale + self.bias).astype(cells.dtype)

    def _statistics(self, cells: mx.array) -> tuple[mx.array, mx.array]:
        """Mean and scale of each channel, [batch, 1, 1, channels]."""
        mean = self._mean(cells, lambda band: band)
        variance = self._mean(cells, lambda band: mx.square(band - mean))
        return mean, mx.rsqrt(variance + _EPSILON) * self.weight

    def _mean(self, cells: mx.array, of: Callable[[mx.array], mx.array]) -> mx.array:
        """Of each group, for each channel. It is taken along one side at a time, which keeps long sums exact enough."""
        batch, height, width, channels = cells.shape
        total = mx.zeros((batch, channels))
        for start, end in bands_of(height, width * channels):
            total = settle(total + of(cells[:, start:end].astype(mx.float32)).mean(axis=2).sum(axis=1))
        groups = (total / height).reshape(batch, self._groups, -1)
        return mx.broadcast_to(groups.mean(axis=-1, keepdims=True), groups.shape).reshape(batch, 1, 1, channels)


class Convolution(nn.Conv2d):
    """3 x 3, in bands of rows: on the CPU MLX writes out each cell's nine neighbours, and what comes before the
    convolution need not be written out as a whole either."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, kernel_size=3, padding=1)

    def __call__(self, cells: mx.array) -> mx.array:
        return self.over(lambda start, end: cells[:, start:end], cells.shape[1], cells.shape[2])

    def over(self, rows: Rows, height: int, width: int) -> mx.array:
        """The convolution of a picture of that size whose rows are made when they are needed."""
        bands = []
        for start, end in bands_of(height, width * self.weight.shape[-1] * _written_neighbours()):
            band = rows(max(0, start - 1), min(height, end + 1))
            padded = mx.pad(band, [(0, 0), (int(start == 0), int(end == height)), (0, 0), (0, 0)])
            bands.append(settle(mx.conv2d(padded, self.weight, padding=(0, 1)) + self.bias))
        return _joined(bands)


class Pointwise(nn.Conv2d):
    """1 x 1: a product of matrices."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, kernel_size=1)

    def __call__(self, cells: mx.array) -> mx.array:
        return cells @ self.weight[:, 0, 0].T + self.bias


class Halving(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2)

    def __call__(self, cells: mx.array) -> mx.array:
        _, height, width, channels = cells.shape
        bands = []
        for start, end in bands_of(height // 2, width // 2 * channels * _written_neighbours()):
            band = cells[:, 2 * start : 2 * end + 1]
            missing = 2 * (end - start) + 1 - band.shape[1]
            bands.append(settle(self.conv(mx.pad(band, [(0, 0), (0, missing), (0, 1), (0, 0)]))))
        return _joined(bands)


class Doubling(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Convolution(channels, channels)

    def __call__(self, cells: mx.array) -> mx.array:
        def rows(start: int, end: int) -> mx.array:
            """Rows of the picture in which every cell is a square of four."""
            first = start // 2
            band = mx.repeat(mx.repeat(cells[:, first : (end + 1) // 2], 2, axis=1), 2, axis=2)
            return band[:, start - 2 * first : end - 2 * first]

        return self.conv.over(rows, 2 * cells.shape[1], 2 * cells.shape[2])
