"""POST /api/fit: what a model would need and whether it fits, as the scheduler sees it, without loading anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.body import read_json
from paddock.api.model_schemas import Pool, Terms
from paddock.api.models import find_model, json_response
from paddock.api.pictures.checks import check_size
from paddock.api.services import services_of
from paddock.errors import InvalidOption
from paddock.memory.fit import MustWait, NeverFits
from paddock.options import merge
from paddock.scheduler.preview import Preview, word_of
from paddock.scheduler.service import LoadWish
from paddock.store.images import ImageFacts
from paddock.supervisor.model_server import RunnerOptions

_MOST_PARALLEL = 1024


class FitBody(msgspec.Struct, frozen=True):
    """What /api/fit takes. `options` are those of /api/generate, and `parallel`."""

    model: str = ""
    name: str = ""
    options: dict[str, Any] | None = None
    width: int | None = None
    height: int | None = None


FIELDS: Mapping[str, str] = {
    "model": "honoured, required: name of a stored model",
    "name": 'honoured: the former name of "model"',
    "options": "honoured: those of loading, and parallel; those of choosing tokens have no effect",
    "width": "honoured: of a picture, in pixels; 400 where a model makes texts",
    "height": "honoured: of a picture, in pixels; 400 where a model makes texts",
}


class FitPictures(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures that an image model would be loaded for, `parallel` of them at once."""

    pixels: int
    """Most of one: width times height."""
    references: int
    """Most pictures to look at meanwhile."""
    tile: int
    """Side, in pixels, of what is decoded at once."""
    is_staged: bool
    """Whether its parts would be in memory in turn."""


class FitAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of a load now."""

    model: str
    verdict: str
    """fits | evicts | waits | never"""
    reason: str
    evicts: tuple[str, ...]
    """Models that would be unloaded for it."""
    is_loaded: bool
    context_length: int
    parallel: int
    kv_bits: int
    """Of a number in the context; 0: the model's own."""
    is_packed: bool
    """Whether quantised weights stay as they are stored, where another form would be faster."""
    is_lowered: bool
    """Whether these, or its prefix cache, are less than the defaults, so that it fits."""
    terms: Terms
    memory: Pool | None
    pictures: FitPictures | None = None
    """Of an image model, which has no context."""


async def fit(request: Request) -> Response:
    """POST /api/fit: whether a model would fit, and what it would need. Nothing is loaded."""
    body = await read_json(request, FitBody)
    services = services_of(request)
    model = await find_model(services, body.model or body.name)
    pixels = _pixels(body, model.facts.image)
    options = dict(body.options or {})
    parallel = _parallel(options.pop("parallel", None))
    _, runner = merge(model.parameters, options)
    scheduler = services.scheduler
    found = scheduler.preview(model, LoadWish(**runner, picture_pixels=pixels), parallel)
    return json_response(_answer(found, scheduler.supply().reserve_bytes))


def _pixels(body: FitBody, facts: ImageFacts | None) -> int | None:
    """Of the picture that is asked for; a side that is not given is the model's own. InvalidOption."""
    if body.width is None and body.height is None:
        return None
    if facts is None:
        raise InvalidOption("Only image models have a width and a height: leave them out.")
    width, height = body.width or facts.width, body.height or facts.height
    check_size(width, height, facts)
    return width * height


def _parallel(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= _MOST_PARALLEL:
        raise InvalidOption(f"parallel must be a whole number from 1 to {_MOST_PARALLEL}.")
    return value


def _answer(found: Preview, reserve_bytes: int) -> FitAnswer:
    options = found.order.options
    return FitAnswer(
        model=found.order.name,
        verdict=word_of(found.verdict),
        reason=_reason(found),
        evicts=found.victims,
        is_loaded=found.is_loaded,
        context_length=options.num_ctx,
        parallel=options.parallel,
        kv_bits=options.kv_bits,
        is_packed=options.keep_packed,
        is_lowered=not found.is_loaded and options != found.asked.options,
        terms=Terms.of(found.order.need),
        memory=Pool.of(found.pool, reserve_bytes),
        pictures=_pictures(options) if options.picture_pixels else None,
    )


def _pictures(options: RunnerOptions) -> FitPictures:
    return FitPictures(
        pixels=options.picture_pixels,
        references=options.references,
        tile=options.tile_pixels,
        is_staged=options.staged,
    )


def _reason(found: Preview) -> str:
    if found.is_loaded:
        return "It is loaded already."
    match found.verdict:
        case NeverFits(why):
            return why
        case MustWait(why):
            return f"It would wait: {why}."
    if found.victims:
        return f"It would fit once {', '.join(found.victims)} had been unloaded."
    return "It would fit now."
