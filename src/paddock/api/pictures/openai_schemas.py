"""The wire types of OpenAI's image routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from paddock.api.described import described
from paddock.api.schemas import Answer, Body


class PictureBody(Body, frozen=True):
    """What both routes have in common. The last five are not OpenAI's."""

    model: str | None = None
    prompt: str | None = None
    n: Annotated[int, described(minimum=1, maximum=10)] | None = None
    size: str | None = None
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    response_format: str | None = None
    output_format: str | None = None
    output_compression: Annotated[int, described(minimum=0, maximum=100)] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, described(minimum=0, maximum=3)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    style: str | None = None
    complexity: str | None = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    svg: Any = None
    seed: int | None = None
    negative_prompt: str | None = None
    steps: Annotated[int, described(minimum=0, maximum=150)] | None = None
    guidance: Annotated[float, described(minimum=0, maximum=100)] | None = None
    strength: Annotated[float, described(exclusiveMinimum=0, maximum=1)] | None = None


class GenerationBody(PictureBody, frozen=True):
    """POST /v1/images/generations"""


class ImageReference(Body, frozen=True):
    """A picture in a body of JSON."""

    image_url: str | None = None
    file_id: str | None = None


class EditBody(PictureBody, frozen=True):
    """POST /v1/images/edits; in a form the pictures are files instead."""

    images: list[ImageReference] | None = None
    image: str | list[str] | None = None
    mask: Any = None
    markup: Any = None
    input_fidelity: str | None = None


FIELDS: Mapping[str, str] = {
    "model": "honoured, required: name of a stored model that makes pictures",
    "prompt": "honoured, required: what to paint",
    "n": "honoured: so many pictures, 1 to 10",
    "size": 'honoured: "auto", or a width and a height such as "1024x768"; 400 for sides that the model cannot have',
    "quality": "400 unless auto or standard: there is one quality",
    "background": "400 unless auto or opaque: pictures have no transparent parts",
    "moderation": "400 unless auto or low: nothing is moderated",
    "response_format": "honoured: b64_json, or url for an address where the picture is for an hour",
    "output_format": "honoured: png, jpeg or webp",
    "output_compression": "honoured: 0 to 100 for jpeg and webp; 400 below 100 for png",
    "stream": "honoured: events with the steps and the pictures; 400 beside response_format url",
    "partial_images": "honoured: 0 to 3 looks at each picture before it is ready; needs stream",
    "user": "no effect: for the client's own bookkeeping",
    "safety_identifier": "no effect: for the client's own bookkeeping",
    "style": "400 unless empty: say it in the prompt",
    "complexity": "400 unless empty: it is for drawings of vectors",
    "frame_count": "400 unless null: pictures do not move",
    "frame_duration_ms": "400 unless null: pictures do not move",
    "svg": "400 unless empty: it is for drawings of vectors",
    "seed": "honoured: the same request with it makes the same picture (not OpenAI's)",
    "negative_prompt": "honoured: what the pictures should not show (not OpenAI's); 400 where a model has no guidance",
    "steps": "honoured: of denoising; 0 leaves it to the model (not OpenAI's)",
    "guidance": "honoured: how closely the prompt is followed (not OpenAI's); 400 above 1 where the model has none",
    "strength": "honoured: how far a given picture is changed (not OpenAI's); 400 unless the model starts from one",
    "images": "honoured: pictures to work from, as data URIs",
    "image": "honoured: base64 or a data URI, or several (not OpenAI's); 400 beside images",
    "mask": "400 unless empty: no part of a picture can be spared",
    "markup": "400 unless empty: no part of a picture can be marked",
    "input_fidelity": "400 unless empty: there is one fidelity",
    "image_url": "honoured, required: a data URI; 400 for an address elsewhere",
    "file_id": "400 unless null: files are not kept here",
}


class Picture(Answer, frozen=True):
    """A picture: itself, or where it is for an hour."""

    b64_json: bytes | None = None
    url: str | None = None


class InputDetails(msgspec.Struct, kw_only=True, frozen=True):
    """What the input was made of."""

    image_tokens: int
    text_tokens: int


class Usage(msgspec.Struct, kw_only=True, frozen=True):
    """Tokens of a request: of a text as the text encoder counts them, of a picture as the transformer sees it."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    total_tokens: int


class PicturesAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The answer of both routes."""

    created: int
    data: tuple[Picture, ...]
    output_format: str
    size: str
    usage: Usage
    background: str = "opaque"


class StepEvent(msgspec.Struct, kw_only=True, frozen=True):
    """Not OpenAI's: so many of the steps of all pictures are made. It has no picture."""

    type: str
    completed: int
    total: int


class Event(msgspec.Struct, kw_only=True, frozen=True):
    """What every event with a picture holds."""

    type: str
    b64_json: bytes
    created_at: int
    output_format: str
    size: str
    image_index: int
    """Not OpenAI's: which of the request's pictures it is."""
    background: str = "opaque"
    quality: str = "auto"


class PartialEvent(Event, kw_only=True, frozen=True):
    """A picture as it is so far."""

    partial_image_index: int


class CompletedEvent(Event, kw_only=True, frozen=True):
    """A picture that is ready. The input is counted once, with the last."""

    usage: Usage
