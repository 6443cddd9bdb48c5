"""The wire types of OpenAI's image routes."""

from __future__ import annotations

from typing import Any

import msgspec

from paddock.api.schemas import Answer, Body


class PictureBody(Body, frozen=True):
    """What both routes have in common. The last five are not OpenAI's."""

    model: str | None = None
    prompt: str | None = None
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    response_format: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    stream: bool | None = None
    partial_images: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    """As `user`, for the client's own bookkeeping: they change nothing."""
    style: str | None = None
    complexity: str | None = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    svg: Any = None
    seed: int | None = None
    negative_prompt: str | None = None
    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None


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
    """Not OpenAI's: base64 or a data URI, or several."""
    mask: Any = None
    markup: Any = None
    input_fidelity: str | None = None


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
