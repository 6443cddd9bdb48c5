"""Draws the serving benchmark: tokens per second of each server, a bar for each number of streams at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

BAR, SPACE, LEFT, TOP, WIDTH, RIGHT = 14, 14, 230, 62, 1100, 70
COLOURS = (("1 stream", "#7f8c8d"), ("4 streams", "#e09f3e"), ("16 streams", "#3b6ea5"))


def draw(rates: Mapping[str, Sequence[float]], path: Path) -> None:
    """Write the picture: `rates` are tokens per second for 1, 4 and 16 streams by the server's name."""
    group = BAR * len(COLOURS) + SPACE
    picture = Image.new("RGB", (WIDTH, TOP + group * len(rates) + SPACE), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    scale = (WIDTH - LEFT - RIGHT) / max(max(row) for row in rates.values())
    pen.text((16, 12), "Tokens per second of all streams together: the same model on the same machine", "black", font)
    left = LEFT
    for name, colour in COLOURS:
        pen.rectangle((left, 38, left + 10, 48), fill=colour)
        pen.text((left + 15, 35), name, "black", font)
        left += 40 + int(pen.textlength(name, font))
    for index, (name, row) in enumerate(rates.items()):
        top = TOP + group * index
        pen.text((LEFT - 10, top + BAR), name, "black", font, anchor="ra")
        for (_, colour), rate in zip(COLOURS, row, strict=True):
            pen.rectangle((LEFT, top, LEFT + rate * scale, top + BAR - 3), fill=colour)
            pen.text((LEFT + rate * scale + 6, top - 3), f"{rate:.0f}", "black", font)
            top += BAR
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)
