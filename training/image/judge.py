"""Looks at a picture and says what is in it, by its pixels alone: for pictures of one shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.image.draw import PALETTE, SHAPES, Item, Pixels, coverage

_CORNER_SHARE = 16
"""A corner is this part of the side."""
_COLOURS = np.array(list(PALETTE.values()), np.float32)
_NAMES = tuple(PALETTE)
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Finding:
    """What a picture shows. `overlap` is the intersection over union with the ideal `shape`; without a shape that
    differs from the background, `colour` and `shape` are empty."""

    background: str
    colour: str
    shape: str
    overlap: float


def look(pixels: Pixels) -> Finding:
    """The colour nearest to the corners', that of the largest other region, and the shape that fits this best."""
    nearest = _nearest(pixels)
    part = max(1, len(pixels) // _CORNER_SHARE)
    corners = [
        nearest[rows, columns]
        for rows in (slice(part), slice(-part, None))
        for columns in (slice(part), slice(-part, None))
    ]
    background = _commonest(np.concatenate([corner.ravel() for corner in corners]))
    region = _largest_region(nearest != background)
    if not region.any():
        return Finding(_NAMES[background], "", "", 0.0)
    shape, overlap = _best_shape(region)
    return Finding(_NAMES[background], _NAMES[_commonest(nearest[region])], shape, overlap)


def _nearest(pixels: Pixels) -> npt.NDArray[np.intp]:
    """The colour of the palette that is nearest to each pixel."""
    distances = np.square(pixels.astype(np.float32)[:, :, None] - _COLOURS).sum(axis=-1)
    return distances.argmin(axis=-1)


def _commonest(values: npt.NDArray[np.intp]) -> int:
    return int(np.bincount(values.ravel(), minlength=len(_NAMES)).argmax())


def _largest_region(mask: Mask) -> Mask:
    """The largest set of pixels that hang together. Labels spread from pixel to pixel until none changes."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = np.pad(labels, 1)
        around = np.max(
            [spread[1:-1, 1:-1], spread[:-2, 1:-1], spread[2:, 1:-1], spread[1:-1, :-2], spread[1:-1, 2:]], axis=0
        )
        around = np.where(mask, around, 0)
        if (around == labels).all():
            break
        labels = around
    if not mask.any():
        return mask
    names, counts = np.unique(labels[mask], return_counts=True)
    return labels == names[counts.argmax()]


def _best_shape(region: Mask) -> tuple[str, float]:
    """The shape that, drawn as large and at the place where the region is, covers the most of it and least else."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    found = {shape: _overlap(region, shape, rows, columns) for shape in SHAPES}
    shape = max(found, key=lambda name: found[name])
    return shape, found[shape]


def _overlap(region: Mask, shape: str, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> float:
    """Intersection over union with the ideal shape whose box has the region's middle and the region's mean size."""
    side = len(region)
    ideal = coverage(Item(shape, (0, 0, 0), 0.5, 0.5, 0.3), side) > 0.5
    box_rows, box_columns = np.flatnonzero(ideal.any(axis=1)), np.flatnonzero(ideal.any(axis=0))
    size, box_size = np.ptp(rows) + np.ptp(columns), np.ptp(box_rows) + np.ptp(box_columns)
    radius = 0.3 * size / max(1, box_size)
    offset_y, offset_x = (box_rows.mean() / side - 0.5) / 0.3, (box_columns.mean() / side - 0.5) / 0.3
    x = (columns[0] + columns[-1]) / 2 / side - offset_x * radius
    y = (rows[0] + rows[-1]) / 2 / side - offset_y * radius
    ideal = coverage(Item(shape, (0, 0, 0), x, y, radius), side) > 0.5
    return float((ideal & region).sum() / max(1, (ideal | region).sum()))
