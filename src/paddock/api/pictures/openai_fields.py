"""The fields of OpenAI's image routes: honoured, or refused with one sentence. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from paddock.api.caller import Caller
from paddock.api.pictures.encoding import Format
from paddock.api.pictures.openai_schemas import EditBody, PictureBody
from paddock.errors import BadRequest, InvalidOption, Unsupported
from paddock.protocol import ImageRequest

_FORMATS: dict[str, Format] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_MOST_PREVIEWS = 3
_ACCEPTED = {
    "quality": ("auto", "standard"),
    "background": ("auto", "opaque"),
    "moderation": ("auto", "low"),
    "response_format": ("b64_json", "url"),
}
"""Values of fields that have no others here; the first of each is what happens without the field."""
_REFUSED = ("style", "complexity", "frame_count", "frame_duration_ms", "svg", "mask", "markup", "input_fidelity")


@dataclass(frozen=True)
class Delivery:
    """How the pictures of a request are handed over."""

    format: Format = "png"
    compression: int = 100
    """0 to 100, where the format loses anything: 100 is the best picture."""
    by_url: bool = False
    is_streamed: bool = False


def delivery_of(body: PictureBody) -> Delivery:
    """BadRequest and its family for what cannot be honoured."""
    _check_values(body)
    written = body.output_format or "png"
    if written not in _FORMATS:
        raise Unsupported(f'Invalid value for "output_format": {_shown(written)}; ask for png, jpeg or webp.')
    compression = 100 if body.output_compression is None else body.output_compression
    if not 0 <= compression <= 100:
        raise InvalidOption('"output_compression" must be 0 to 100.')
    if written == "png" and compression != 100:
        raise Unsupported('"output_compression" is for jpeg and webp: a png is always the whole picture.')
    is_streamed, by_url = bool(body.stream), body.response_format == "url"
    if is_streamed and by_url:
        raise Unsupported('A stream carries its pictures in itself: leave out "response_format", or "stream".')
    if not 0 <= (body.partial_images or 0) <= _MOST_PREVIEWS:
        raise InvalidOption(f'"partial_images" must be 0 to {_MOST_PREVIEWS}.')
    if body.partial_images and not is_streamed:
        raise BadRequest('"partial_images" needs "stream" to be true.')
    return Delivery(_FORMATS[written], compression, by_url, is_streamed)


def request_of(body: PictureBody, files: tuple[bytes, ...], caller: Caller) -> ImageRequest:
    """The body as the one internal request; whether a model can honour it is checked elsewhere. BadRequest."""
    if not body.prompt:
        raise BadRequest("prompt is required")
    width, height = _size(body.size)
    return ImageRequest(
        prompt=body.prompt,
        negative_prompt=body.negative_prompt or "",
        width=width,
        height=height,
        steps=body.steps or 0,
        guidance=body.guidance,
        seed=-1 if body.seed is None else body.seed,
        count=1 if body.n is None else body.n,
        images=files,
        strength=body.strength,
        previews=body.partial_images or 0,
        client=caller.client,
        tenant=caller.tenant,
    )


def texts_of(body: EditBody) -> list[str]:
    """The pictures in a body of JSON, as they are written there. BadRequest."""
    if body.image is not None and body.images is not None:
        raise BadRequest('Give "images" or "image", not both.')
    if body.image is not None:
        return body.image if isinstance(body.image, list) else [body.image]
    texts = []
    for reference in body.images or ():
        if reference.file_id is not None or not reference.image_url:
            raise Unsupported('Each of "images" must have an "image_url" that is a data URI: files are not kept here.')
        texts.append(reference.image_url)
    return texts


def _check_values(body: PictureBody) -> None:
    for field, values in _ACCEPTED.items():
        value = getattr(body, field)
        if value is not None and value not in values:
            known = " or ".join(values)
            raise Unsupported(f'Invalid value for "{field}": {_shown(value)}; this server knows {known}.')
    for field in _REFUSED:
        if getattr(body, field, None) not in (None, ""):
            raise Unsupported(f'"{field}" is not supported: leave it out.')


def _size(text: str | None) -> tuple[int, int]:
    if text in (None, "", "auto"):
        return 0, 0
    found = _SIZE.fullmatch(text or "")
    if not found or not int(found[1]) or not int(found[2]):
        raise InvalidOption('"size" must be "auto", or a width and a height such as "1024x768".')
    return int(found[1]), int(found[2])


def _shown(value: str) -> str:
    """A client's word, fit to be repeated: short, and with no control characters."""
    return "".join(character if character.isprintable() else "�" for character in value[:80])
