"""Pictures that a request brings to work from: base64 or data URIs, bounded before anything of them is decoded."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from paddock.api.pictures.headers import size_of
from paddock.errors import BadRequest

MAX_BYTES = 21 * 1024 * 1024
"""Of one file."""
MAX_PIXELS = 33_200_000
"""Of one picture: 8K, or a large camera's."""
MAX_SIDE = 16_384
MAX_PIXELS_TOGETHER = 66_400_000
MIN_SIDE = 64
MAX_ASPECT = 8
"""The engine looks at all of these again, and at what it has decoded."""

_DATA_URI = re.compile(r"data:[^,;]*(?:;[^,;=]+=[^,;]*)*(?P<base64>;base64)?,", re.IGNORECASE)
_LONGEST_URI_HEAD = 256
_LONGEST_BASE64 = MAX_BYTES // 3 * 4 + 4096
_WHITE_SPACE = str.maketrans("", "", " \t\r\n")


def decoded(texts: Sequence[str]) -> tuple[bytes, ...]:
    """The files of texts in base64. BadRequest, in one sentence that counts from 1."""
    return tuple(_decoded(text, number) for number, text in enumerate(texts, start=1))


def check_files(files: Sequence[bytes]) -> None:
    """BadRequest for what is no PNG, JPEG or WebP file, or larger than anyone needs: as its first bytes tell."""
    total = 0
    for number, data in enumerate(files, start=1):
        total += _check_file(data, number)
    if total > MAX_PIXELS_TOGETHER:
        raise BadRequest(f"The images have more than {MAX_PIXELS_TOGETHER // 1_000_000} megapixels together.")


def _decoded(text: str, number: int) -> bytes:
    if text[:7].lower() in ("http://", "https:/"):
        raise BadRequest(f"Image {number} is an address, which is not fetched: send the picture itself as base64.")
    head = _DATA_URI.match(text[:_LONGEST_URI_HEAD])
    if head and not head["base64"]:
        raise BadRequest(f"Image {number} is a data URI without base64: send it as base64.")
    written = text[head.end() :] if head else text
    if len(written) > _LONGEST_BASE64:
        raise _too_large(number)
    try:
        return base64.b64decode(written.translate(_WHITE_SPACE), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"Image {number} is not valid base64.") from None


def _check_file(data: bytes, number: int) -> int:
    if len(data) > MAX_BYTES:
        raise _too_large(number)
    size = size_of(data)
    if size is None:
        raise BadRequest(f"Image {number} is not a readable PNG, JPEG or WebP file.")
    width, height = size
    if width * height > MAX_PIXELS or max(size) > MAX_SIDE:
        most = f"{MAX_PIXELS // 1_000_000} megapixels and {MAX_SIDE} pixels to a side"
        raise BadRequest(f"Image {number} is {width} x {height} pixels; at most {most} are taken.")
    if min(size) < MIN_SIDE:
        raise BadRequest(f"Image {number} is {width} x {height} pixels; each side needs at least {MIN_SIDE}.")
    if max(size) > MAX_ASPECT * min(size):
        raise BadRequest(f"Image {number} is too narrow: one side is over {MAX_ASPECT} times the other.")
    return width * height


def _too_large(number: int) -> BadRequest:
    return BadRequest(f"Image {number} is larger than {MAX_BYTES // 1024 // 1024} MiB.")
