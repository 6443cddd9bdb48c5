"""Large pictures in overlapping tiles: where they lie, and how what was made of them becomes one again. Pure.

Each tile is normed by its own statistics, so a tiled picture is not quite the whole one: with the demo model and tiles
of 64 pixels, values differ by 0.8 of 255 on average at most, and by 23 at the worst, less than the autoencoder's
own error. In the overlaps tiles fade into each other linearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]
"""Shape [height, width, channels]."""

_OVERLAP_SHARE = 4
"""Of a tile's side, at least one part in so many is its neighbour's as well."""


@dataclass(frozen=True)
class Span:
    """Cells from `start` up to `end` of one side."""

    start: int
    end: int


@dataclass(frozen=True)
class Tile:
    """A rectangle of cells."""

    rows: Span
    columns: Span


def spans(length: int, most: int) -> list[Span]:
    """A side in as few equal spans of at most `most` cells as overlap enough; they lie evenly."""
    if length <= most:
        return [Span(0, length)]
    overlap = most // _OVERLAP_SHARE
    count = -(-(length - overlap) // (most - overlap))
    starts = [round(place * (length - most) / (count - 1)) for place in range(count)]
    return [Span(start, start + most) for start in starts]


def tiles(rows: int, columns: int, most: int) -> list[Tile]:
    """The tiles of a rectangle, row by row."""
    return [Tile(across, along) for across in spans(rows, most) for along in spans(columns, most)]


class Mosaic:
    """What was made of the tiles of one picture, put together."""

    def __init__(self, rows: int, columns: int, most: int, scale: int = 1) -> None:
        """Sides are in cells, of which a tile has at most `most` to a side; what is made of one cell has `scale`
        values to a side."""
        self.tiles = tiles(rows, columns, most)
        self._fades = [fades(spans(side, most), scale) for side in (rows, columns)]
        self._scale = scale
        self._shape = (rows * scale, columns * scale)
        self._sum: Values | None = None
        self._placed = 0

    @property
    def next_tile(self) -> Tile | None:
        """The tile that is to be placed now; None when all are."""
        return self.tiles[self._placed] if self._placed < len(self.tiles) else None

    def place(self, values: Values) -> None:
        """What was made of the next tile."""
        tile = self.tiles[self._placed]
        self._placed += 1
        if len(self.tiles) == 1:
            self._sum = values
            return
        if self._sum is None:
            self._sum = np.zeros((*self._shape, values.shape[-1]), np.float32)
        down, across = self._fades[0][tile.rows], self._fades[1][tile.columns]
        scale = self._scale
        rows = slice(tile.rows.start * scale, tile.rows.end * scale)
        columns = slice(tile.columns.start * scale, tile.columns.end * scale)
        self._sum[rows, columns] += values * (down[:, None, None] * across[None, :, None])

    def whole(self) -> Values:
        """All of it, once every tile is placed."""
        assert self._sum is not None
        assert self.next_tile is None, "tiles are missing"
        return self._sum


def fades(side: list[Span], scale: int) -> dict[Span, Values]:
    """The weight of each value of each span of a side: in an overlap the one's falls as the other's rises, and those of
    all spans at one place are 1 together. Shape [values of the span]."""
    weights = {span: np.ones((span.end - span.start) * scale, np.float32) for span in side}
    for before, after in pairwise(side):
        overlap = (before.end - after.start) * scale
        rising = (np.arange(overlap, dtype=np.float32) + 0.5) / overlap
        weights[after][:overlap] *= rising
        weights[before][-overlap:] *= rising[::-1]
    total = np.zeros(side[-1].end * scale, np.float32)
    for span, weight in weights.items():
        total[span.start * scale : span.end * scale] += weight
    return {span: weight / total[span.start * scale : span.end * scale] for span, weight in weights.items()}
