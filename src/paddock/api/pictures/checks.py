"""What a request for pictures may ask of a model: everything that can be refused is refused here, before a load. Pure.

The engine looks at requests as well; what only it can know (how many tokens a prompt has) it refuses before its first
frame, so that this too has a status of its own.
"""

from __future__ import annotations

import math
from typing import NoReturn

import msgspec

from paddock.api.pictures.headers import size_of
from paddock.api.pictures.options import PictureOptions
from paddock.errors import BadRequest, InvalidOption, Unsupported
from paddock.memory.image import REFERENCE_PIXELS
from paddock.protocol import ImageRequest
from paddock.scheduler.order import LoadWish
from paddock.store.images import MAX_GUIDANCE, MAX_STEPS, ImageFacts
from paddock.store.library import StoredModel

MAX_COUNT = 10
"""Pictures of one request, as at OpenAI."""
MAX_SEED = 2**63 - 1 - 16
"""The pictures of a request have the seed and those after it."""
MAX_PROMPT_CHARACTERS = 32_000
"""As at OpenAI; how many tokens that may be is the model's own."""
MAX_PIXELS_TOGETHER = 4 * 4096 * 4096
"""Of all pictures of one request, which are in the server's memory together."""


def image_facts(model: StoredModel) -> ImageFacts:
    """What requests to this model keep to. Unsupported for one that makes no pictures."""
    if model.facts.image is None:
        raise Unsupported(
            f'"{model.name.display}" does not support image generation: choose a model that makes pictures.'
        )
    return model.facts.image


def completed(request: ImageRequest, model: StoredModel) -> ImageRequest:
    """The request with the size that its pictures get, unless the given picture settles it. BadRequest and its family
    for what the model cannot honour."""
    facts = image_facts(model)
    _check_prompts(request, facts)
    _check_numbers(request, facts)
    _check_given(request, model, facts)
    if not request.images:
        # Each has a default of its own, as at Ollama.
        width, height = request.width or facts.width, request.height or facts.height
        request = msgspec.structs.replace(request, width=width, height=height)
    if bool(request.width) != bool(request.height):
        raise InvalidOption("Give width and height together, or neither: a given picture settles both.")
    if request.width:
        check_size(request.width, request.height, facts)
    if request.count * request.width * request.height > MAX_PIXELS_TOGETHER:
        most = MAX_PIXELS_TOGETHER // 1_000_000
        raise BadRequest(f"The pictures have more than {most} megapixels together: ask for fewer or smaller ones.")
    return msgspec.structs.replace(request, model=model.name.display, model_digest=model.digest)


def check_size(width: int, height: int, facts: ImageFacts) -> None:
    """InvalidOption where no picture is of this size. Nothing is rounded: the sentence tells what would work."""
    _check_side("width", width, facts)
    _check_side("height", height, facts)


def _check_side(name: str, side: int, facts: ImageFacts) -> None:
    cell, most = facts.cell, facts.side_most // facts.cell * facts.cell
    if side < 1:
        _refuse_side(name, side, f"at least {cell}")
    if side > most:
        _refuse_side(name, side, f"at most {most}")
    if side % cell:
        below = side // cell * cell
        near = [str(near) for near in (below, below + cell) if cell <= near <= most]
        _refuse_side(name, side, f"a multiple of {cell}, such as {' or '.join(near)}")


def wish_of(request: ImageRequest, model: StoredModel, options: PictureOptions) -> LoadWish:
    """What a request, which is complete, asks of the runner."""
    looks_at_some = image_facts(model).edits == "references"
    return LoadWish(
        num_gpu=options.num_gpu,
        num_thread=options.num_thread,
        picture_pixels=_most_pixels(request, model),
        references=len(request.images) if looks_at_some else None,
    )


def tokens_of(width: int, height: int, model: StoredModel) -> int:
    """Tokens of a picture as the transformer sees it."""
    side = image_facts(model).cell
    return (width // side) * (height // side)


def given_tokens(request: ImageRequest, model: StoredModel) -> int:
    """About as many tokens have the pictures that the request brings."""
    sizes = (size_of(data) or (0, 0) for data in request.images)
    side = image_facts(model).cell
    return sum(min(REFERENCE_PIXELS, width * height) // side**2 for width, height in sizes)


def _most_pixels(request: ImageRequest, model: StoredModel) -> int:
    if request.width:
        return request.width * request.height
    width, height = size_of(request.images[0]) or (0, 0)
    return min(REFERENCE_PIXELS, max(width * height, image_facts(model).cell ** 2))


def _check_prompts(request: ImageRequest, facts: ImageFacts) -> None:
    if not request.prompt.strip():
        raise BadRequest("A picture needs a prompt.")
    if max(len(request.prompt), len(request.negative_prompt)) > MAX_PROMPT_CHARACTERS:
        raise BadRequest(f"A prompt may have at most {MAX_PROMPT_CHARACTERS} characters: shorten it.")
    if not facts.guides and (request.negative_prompt or (request.guidance or 0.0) > 1.0):
        raise Unsupported("This model works without guidance: leave out guidance and the negative prompt.")


def _check_numbers(request: ImageRequest, facts: ImageFacts) -> None:
    _check_range("steps", request.steps, 0, MAX_STEPS)
    _check_range("n", request.count, 1, MAX_COUNT)
    if request.seed > MAX_SEED:
        raise InvalidOption(f"seed must be at most {MAX_SEED}.")
    if request.guidance is not None:
        _check_range("guidance", request.guidance, 0, MAX_GUIDANCE)
    if request.strength is None:
        return
    if facts.edits != "start" or not request.images:
        raise Unsupported("strength is only for models that start from a picture, with a picture to start from.")
    if not 0.0 < request.strength <= 1.0:
        raise InvalidOption("strength must be above 0 and at most 1.")


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise InvalidOption(f"{name} must be {least:g} to {most:g}, and is {value:g}.")


def _check_given(request: ImageRequest, model: StoredModel, facts: ImageFacts) -> None:
    if request.images and facts.edits == "none":
        raise Unsupported(f'"{model.name.display}" does not support image input')
    if len(request.images) > facts.references_most:
        some = "one image" if facts.references_most == 1 else f"{facts.references_most} images"
        raise BadRequest(f"This model takes at most {some} to work from.")


def _refuse_side(name: str, side: int, rule: str) -> NoReturn:
    raise InvalidOption(f"{name} must be {rule}, and is {side}.")
