"""What a model needs of this machine's memory at the lengths of context, or sizes of pictures, people ask about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from paddock.api.model_schemas import Pool, ShownMemory, ShownNeed, Terms
from paddock.api.services import Services
from paddock.options import RUNNER_OPTIONS, parse_options
from paddock.scheduler.preview import Preview, word_of
from paddock.scheduler.service import LoadWish
from paddock.store.images import ImageFacts
from paddock.store.library import Library, StoredModel
from paddock.store.names import ModelName

SHOWN_CONTEXTS = (4096, 32_768)
"""In tokens; the default and the longest that the model was made for come on top."""
SHOWN_SIDES = (512, 1024, 2048)
"""Of pictures, in pixels; the model's own size comes on top."""


def shown_memory(services: Services, model: StoredModel) -> ShownMemory:
    """What the scheduler would make of loading the model at this moment, for each length or size. Loads nothing."""
    given = {name: value for name, value in model.parameters.items() if name in RUNNER_OPTIONS}
    wish = LoadWish(**parse_options(given, source="parameter").runner_overrides)
    default = services.scheduler.preview(model, wish)
    image = model.facts.image
    needs = _of_pictures(services, model, image, default) if image else _of_contexts(services, model, wish, default)
    pool = Pool.of(default.pool, services.scheduler.supply().reserve_bytes)
    return ShownMemory(pool=pool, needs=tuple(needs))


def _of_contexts(services: Services, model: StoredModel, wish: LoadWish, default: Preview) -> Iterator[ShownNeed]:
    longest, usual = model.facts.context_length, default.order.options.num_ctx
    lengths = {length for length in (*SHOWN_CONTEXTS, longest) if 0 < length <= (longest or length)}
    for length in sorted(lengths | {usual}):
        found = default
        if length != usual:
            found = services.scheduler.preview(model, replace(wish, num_ctx=length))
        yield _need(services.library, found, length == usual, context_length=found.order.options.num_ctx)


def _of_pictures(services: Services, model: StoredModel, image: ImageFacts, default: Preview) -> Iterator[ShownNeed]:
    yield _need(services.library, default, is_default=True, width=image.width, height=image.height)
    for side in SHOWN_SIDES:
        # A runner is loaded for pictures of the model's own size at least.
        if side * side > image.pixels and side <= image.side_most and side % image.cell == 0:
            found = services.scheduler.preview(model, LoadWish(picture_pixels=side * side))
            yield _need(services.library, found, is_default=False, width=side, height=side)


def _need(library: Library, found: Preview, is_default: bool, **size: int) -> ShownNeed:
    options = found.order.options
    return ShownNeed(
        verdict="loaded" if found.is_loaded else word_of(found.verdict),
        evicts=tuple(name for name in found.victims if library.shows(ModelName.parse(name))),
        is_default=is_default,
        is_lowered=not found.is_loaded and options != found.asked.options,
        parallel=options.parallel,
        terms=Terms.of(found.order.need),
        **size,
    )
