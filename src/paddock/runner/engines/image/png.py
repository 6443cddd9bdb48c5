"""PNG files that tell how they were made, and what such a file tells. It knows no MLX."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator, Mapping

from PIL import Image, PngImagePlugin

from paddock.runner.engines.base import Pixels

Details = Mapping[str, str | int | float]

DETAILS_KEY = "paddock"
PARAMETERS_KEY = "parameters"
"""Under which picture viewers and other programs look for a text to show."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_DETAILS_BYTES = 1024 * 1024
_LABELS = {
    "steps": "Steps",
    "seed": "Seed",
    "guidance": "Guidance",
    "strength": "Strength",
    "model": "Model",
    "model_digest": "Model digest",
    "version": "Version",
}


def write_png(pixels: Pixels, details: Details) -> bytes:
    """A PNG file of a picture: the same pixels and details give the same bytes.

    Details are in it twice: as JSON under "paddock", and as text for people under "parameters".
    """
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt(PARAMETERS_KEY, parameters(details))
    texts.add_itxt(DETAILS_KEY, json.dumps(dict(details), ensure_ascii=False, sort_keys=True))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", pnginfo=texts)
    return file.getvalue()


def parameters(details: Details) -> str:
    """The details as people read them: the prompt, the negative prompt, and a line of the rest."""
    lines = [str(details.get("prompt", ""))]
    if negative := details.get("negative_prompt"):
        lines.append(f"Negative prompt: {negative}")
    rest = [f"{label}: {details[name]}" for name, label in _LABELS.items() if details.get(name, "") != ""]
    if "width" in details and "height" in details:
        rest.insert(1, f"Size: {details['width']}x{details['height']}")
    return "\n".join([*lines, ", ".join(rest)])


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
    if keyword != DETAILS_KEY.encode() or not rest.startswith(b"\0\0"):
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
