"""Pictures of strangers as pixels: bounded before anything of them is decoded, upright, without transparency.

It knows no MLX and no model. Messages are our own: a library's may tell of the process.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from paddock.errors import BadRequest
from paddock.runner.engines.base import Pixels

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 21 * 1024 * 1024
"""Of one file."""
MAX_PIXELS = 33_200_000
"""Of one picture: 8K, or a large camera's."""
MAX_PIXELS_TOGETHER = 66_400_000
MAX_SIDE = 16_384
MAX_ASPECT = 200
_WHITE = (255, 255, 255, 255)
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for files that are broken or too large."""


def read_pictures(files: Sequence[bytes]) -> list[Image.Image]:
    """The pictures of PNG, JPEG or WebP files: the first frame of each, turned as its EXIF says, on white, in RGB.

    BadRequest, in one sentence that counts from 1, for a file that is none, is broken or is too large; sizes are
    looked at before anything is decoded.
    """
    pictures: list[Image.Image] = []
    total = 0
    for number, data in enumerate(files, start=1):
        width, height = _size(data, number)
        total += width * height
        if total > MAX_PIXELS_TOGETHER:
            raise BadRequest(f"The images have more than {MAX_PIXELS_TOGETHER // 1_000_000} megapixels together.")
        pictures.append(_decode(data, number))
    return pictures


def fitted(picture: Image.Image, width: int, height: int) -> Pixels:
    """The picture cut at two sides where its shape is another, and resized; shape [height, width, 3]."""
    if picture.size != (width, height):
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def within_area(picture: Image.Image, most_pixels: int, multiple: int) -> Pixels:
    """The picture no larger than an area, then cut around its middle to sides that are multiples; never enlarged.

    The sizes are those of diffusers' Flux2KleinPipeline.
    """
    width, height = picture.size
    if width * height > most_pixels:
        scale = math.sqrt(most_pixels / (width * height))
        width, height = max(1, int(width * scale)), max(1, int(height * scale))
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    kept_width, kept_height = (max(multiple, side // multiple * multiple) for side in (width, height))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return np.asarray(picture.crop((left, top, left + kept_width, top + kept_height)))


def _size(data: bytes, number: int) -> tuple[int, int]:
    if len(data) > MAX_BYTES:
        raise BadRequest(f"Image {number} is larger than {MAX_BYTES // 1024 // 1024} MiB.")
    picture = _opened(data, number)
    width, height = picture.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        most = f"{MAX_PIXELS // 1_000_000} megapixels and {MAX_SIDE} pixels to a side"
        raise BadRequest(f"Image {number} is {width} x {height} pixels; at most {most} are taken.")
    if min(width, height) < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        raise BadRequest(f"Image {number} is {width} x {height} pixels, which is too narrow.")
    try:
        picture.verify()
    except _BROKEN:
        raise _broken(number) from None
    return width, height


def _decode(data: bytes, number: int) -> Image.Image:
    picture = _opened(data, number)
    try:
        picture = ImageOps.exif_transpose(picture)
        return _on_white(picture)
    except _BROKEN:
        raise _broken(number) from None


def _opened(data: bytes, number: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Of large pictures, which are refused by our own bounds a moment later.
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except _BROKEN:
        raise BadRequest(f"Image {number} is not a readable PNG, JPEG or WebP file.") from None


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # 16 bits of grey, which Pillow's own conversion would cut off at 255.
        return Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layered = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, _WHITE), layered).convert("RGB")


def _broken(number: int) -> BadRequest:
    return BadRequest(f"Image {number} is broken: it cannot be decoded.")
