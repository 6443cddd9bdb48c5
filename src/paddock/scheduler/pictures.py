"""What a runner of an image model is given where nobody fixed it, and what of that gives way. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paddock.supervisor.model_server import RunnerOptions

if TYPE_CHECKING:
    from paddock.scheduler.defaults import Machine, NeedOf
    from paddock.scheduler.order import LoadWish
    from paddock.store.images import ImageFacts

TILE_PIXELS, SMALL_TILE_PIXELS = 1024, 512
"""Side of what is decoded at once: pictures that are no larger are whole; and what it is lowered to."""


def with_default_pictures(
    options: RunnerOptions, image: ImageFacts, fixed: LoadWish, machine: Machine, need_of: NeedOf
) -> RunnerOptions:
    """Pictures of the model's own size, or as large as is asked for; and as many to look at meanwhile as are asked for,
    or more where they add less than one context may take."""
    pixels, least = max(image.pixels, fixed.picture_pixels or 0), fixed.references or 0
    options = replace(options, picture_pixels=pixels, tile_pixels=TILE_PIXELS, references=least)
    if image.edits != "references":
        return options
    most_bytes = need_of(replace(options, references=0)).workspace_bytes + machine.share_bytes(options.num_gpu)
    for references in range(image.references_most, least, -1):
        more = replace(options, references=references)
        if need_of(more).workspace_bytes < most_bytes:
            return more
    return options


def picture_steps(
    options: RunnerOptions, fixed: LoadWish, need_of: NeedOf, *, is_parallel_fixed: bool
) -> Iterator[RunnerOptions]:
    """Less and less: no more pictures to look at than are asked for; fewer pictures made at once; smaller tiles; the
    parts of the model in memory in turn; and pictures no larger than asked for. A step that saves nothing is passed
    over, since each has its price."""

    def saves(lower: RunnerOptions) -> bool:
        return need_of(lower).total_bytes < need_of(options).total_bytes

    changes: list[dict[str, Any]] = [{"references": fixed.references or 0}]
    if not is_parallel_fixed:
        changes += [{"parallel": count} for count in _halves(options.parallel)]
    changes += [{"tile_pixels": SMALL_TILE_PIXELS}, {"staged": True}]
    changes += [{"picture_pixels": fixed.picture_pixels}] if fixed.picture_pixels else []
    for change in changes:
        if saves(lower := replace(options, **change)):
            options = lower
            yield options


def _halves(count: int) -> Iterator[int]:
    while count > 1:
        count //= 2
        yield count
