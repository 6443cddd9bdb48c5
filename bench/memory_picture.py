"""Draws the memory report: for each runner what was foreseen in terms, and below it the peak that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image, ImageDraw, ImageFont

ROW, LEFT, RIGHT, TOP, BOTTOM, WIDTH = 20, 300, 150, 64, 44, 1200
TERMS = (("weights", "#3b6ea5"), ("kept of sequences", "#e09f3e"), ("work", "#9e4770"), ("runtime", "#7f8c8d"))


class Drawn(Protocol):
    """A row of the report."""

    @property
    def label(self) -> str:
        """Model, context and sequences."""

    @property
    def terms_bytes(self) -> tuple[int, int, int, int]:
        """Foreseen: weights, kept, work, runtime."""

    @property
    def foreseen_bytes(self) -> int:
        """In all."""

    @property
    def peak_bytes(self) -> int:
        """Measured."""

    @property
    def error(self) -> float:
        """Negative where less was foreseen than came."""


def draw(rows: Sequence[Drawn], path: Path) -> None:
    """Write the picture: thin bars are the foreseen terms, the dark line below them is the peak."""
    height = TOP + ROW * len(rows) + BOTTOM
    picture = Image.new("RGB", (WIDTH, height), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    most = max(max(row.foreseen_bytes, row.peak_bytes) for row in rows)
    scale = (WIDTH - LEFT - RIGHT) / most
    pen.text((16, 12), "Memory of a runner: foreseen in terms, and the peak that was measured", "black", font)
    _legend(pen, font)
    _grid(pen, font, most, scale, height)
    for index, row in enumerate(rows):
        _row(pen, font, row, TOP + ROW * index, scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


def _legend(pen: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> None:
    left = LEFT
    for name, colour in (*TERMS, ("measured peak", "black")):
        pen.rectangle((left, 40, left + 10, 50), fill=colour)
        pen.text((left + 15, 37), name, "black", font)
        left += 35 + pen.textlength(name, font)


def _grid(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    most: int,
    scale: float,
    height: int,
) -> None:
    for megabytes in range(0, round(most / 1e6) + 1, 100):
        left = LEFT + megabytes * 1e6 * scale
        pen.line((left, TOP - 6, left, height - BOTTOM), fill="#dddddd")
        pen.text((left - 12, height - BOTTOM + 8), f"{megabytes} MB", "#555555", font)


def _row(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    row: Drawn,
    top: int,
    scale: float,
) -> None:
    pen.text((16, top), row.label, "black", font)
    left = float(LEFT)
    for size, (_, colour) in zip(row.terms_bytes, TERMS, strict=True):
        pen.rectangle((left, top + 2, left + size * scale, top + 10), fill=colour)
        left += size * scale
    pen.rectangle((LEFT, top + 12, LEFT + row.peak_bytes * scale, top + 15), fill="black")
    pen.text((WIDTH - RIGHT + 12, top), f"{row.peak_bytes / 1e6:.0f} MB  {row.error:+.1%}", "black", font)
