"""Pictures as they are so far: after which steps they are shown, of what size, and what is known of them. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paddock.runner.engines.image.flow import Sigmas

MOST_SIDE = 512
"""Pixels of the longer side of a preview."""
WHOLE_SIDE = 256
"""Pictures up to this are shown whole; of larger ones a preview has at most half the side, a quarter of the cost."""

Weights = npt.NDArray[np.float32]
"""Shape [fewer, many]; each row is 1 together."""


def preview_steps(steps: int, previews: int) -> tuple[int, ...]:
    """How many of a picture's steps are done when it is shown: evenly, and never all, which are the picture itself. So
    few steps allow for fewer previews than asked for."""
    count = min(previews, steps - 1)
    return tuple(number * steps // (count + 1) for number in range(1, count + 1))


def preview_size(rows: int, columns: int, cell: int, most_side: int) -> tuple[int, int]:
    """Rows and columns of a preview of a picture of so many cells of `cell` pixels, neither side over `most_side`
    pixels."""
    longest = max(rows, columns) * cell
    most = min(most_side, MOST_SIDE, max(WHOLE_SIDE, longest // 2))
    share = min(1.0, most / longest)
    return max(1, int(rows * share)), max(1, int(columns * share))


def lead(sigmas: Sigmas, step: int) -> float:
    """What is known of the picture after a step from 0 on: latents before it + this x (those after it - those before).

    It is where the straight line through both ends, x - sigma * velocity where sigmas end at 0.
    """
    before, after, last = (float(sigmas[place]) for place in (step, step + 1, -1))
    return (last - before) / (after - before)


def area_weights(many: int, fewer: int) -> Weights:
    """How much each of `many` cells of a side counts for each of `fewer` that take their place: by the shared area."""
    edges = np.arange(fewer + 1) * (many / fewer)
    cells = np.arange(many)
    ends = np.minimum(edges[1:, None], cells + 1)
    starts = np.maximum(edges[:-1, None], cells)
    return (np.clip(ends - starts, 0.0, None) * (fewer / many)).astype(np.float32)
