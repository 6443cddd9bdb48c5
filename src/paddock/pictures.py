"""What the file of a picture tells of how it was made. It knows no MLX and no model; the writing is the runner's."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator

DETAILS_KEY = b"paddock"
"""The keyword of the text in a PNG file that holds the details as JSON; `runner/engines/image/png.py` writes it."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_DETAILS_BYTES = 1024 * 1024


def read_details(data: bytes) -> dict[str, str | int | float] | None:
    """What a PNG file tells of how it was made; None if it tells nothing, or nothing that can be read.

    Only texts before the pixels are looked at, and nothing is decompressed.
    """
    for kind, body in _chunks(data):
        if kind == b"IDAT":
            break
        if kind == b"iTXt" and (text := _plain_text(body)) is not None:
            return _details(text)
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_SIGNATURE) if data.startswith(_SIGNATURE) else len(data)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + length]
        checksum = data[place + 8 + length : place + 12 + length]
        if zlib.crc32(kind + body).to_bytes(4, "big") != checksum:
            return
        yield kind, body
        place += 12 + length


def _plain_text(body: bytes) -> bytes | None:
    """The text of an iTXt chunk of ours: keyword, 0, flag and method of compression, language, 0, keyword, 0, text."""
    keyword, _, rest = body.partition(b"\0")
    if keyword != DETAILS_KEY or not rest.startswith(b"\0\0"):
        return None
    _, _, rest = rest[2:].partition(b"\0")
    _, _, text = rest.partition(b"\0")
    return text if len(text) <= _MOST_DETAILS_BYTES else None


def _details(text: bytes) -> dict[str, str | int | float] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(type(value) in (str, int, float) for value in found.values()):
        return None
    return found
