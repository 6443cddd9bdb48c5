"""Pictures of a runner in the format that a client asks for."""

from __future__ import annotations

import io
from typing import Literal

from PIL import Image

Format = Literal["png", "jpeg", "webp"]


def encoded(png: bytes, format: Format, compression: int) -> bytes:  # noqa: A002 -- OpenAI's word for it
    """A PNG file of ours as another; a PNG stays as it is, with what it tells of itself.

    `compression` is 0 to 100, the best picture. It takes a while: for a thread.
    """
    if format == "png":
        return png
    file = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        picture.convert("RGB").save(file, format=format, quality=compression)
    return file.getvalue()
