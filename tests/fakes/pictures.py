"""Pictures that cost nothing: tiny PNG files of one colour, made with the standard library alone."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator

from paddock.protocol import Done, Frame, Image, ImageRequest, Preview, Step

SIZE = 64
"""Of a side where the request names none."""
STEPS = 3


def a_png(width: int, height: int, seed: int = 0) -> bytes:
    """A picture of one colour, which follows from the seed."""
    colour = hashlib.sha256(str(seed).encode()).digest()[:3]
    rows = (b"\0" + colour * width) * height
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(body)) + kind + body + _checksum(kind + body) for kind, body in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def frames_of(request: ImageRequest) -> Iterator[Frame]:
    """What a well-behaved runner answers."""
    width, height = request.width or SIZE, request.height or SIZE
    steps, seed = request.steps or STEPS, max(0, request.seed)
    for step in range(steps + 1):
        yield Step(done=step, total=steps)
        if 0 < step <= request.previews:
            for index in range(request.count):
                yield Preview(data=a_png(8, 8, seed + index), index=index, number=step - 1)
    for index in range(request.count):
        data = a_png(width, height, seed + index)
        yield Image(data=data, index=index, seed=seed + index, width=width, height=height)
    yield Done(
        reason="stop",
        prompt_eval_count=len(request.prompt.split()),
        prompt_eval_duration_ns=1_000_000,
        eval_count=steps,
        eval_duration_ns=2_000_000,
    )


def _checksum(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))
