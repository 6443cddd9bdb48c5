"""Draws coloured shapes on plain backgrounds, with smooth edges. It knows no words; `captions.py` has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Pixels = npt.NDArray[np.uint8]
"""Shape [side, side, 3]."""
Coverage = npt.NDArray[np.float32]
"""How much of each pixel a shape covers, 0 to 1. Shape [side, side]."""
Colour = tuple[int, int, int]
Points = list[tuple[float, float]]

SIDE = 128
"""Pixels to a side of a picture."""
PALETTE: Mapping[str, Colour] = {
    "red": (214, 39, 40),
    "orange": (250, 140, 20),
    "yellow": (255, 221, 51),
    "green": (44, 150, 60),
    "blue": (38, 84, 208),
    "purple": (130, 50, 168),
    "pink": (255, 150, 200),
    "black": (20, 20, 24),
    "white": (250, 250, 250),
    "grey": (135, 135, 140),
}
_OVERSAMPLING = 4
_RING_HOLE = 0.55
_STAR_WAIST = 0.42
_CROSS_ARM = 0.34


@dataclass(frozen=True)
class Item:
    """A shape in a picture; place and radius are shares of the picture's side."""

    shape: str
    colour: Colour
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """What a picture shows; later items lie on earlier ones."""

    items: tuple[Item, ...]
    background: Colour


def _corners(count: int, turn_degrees: float, radius: float = 1.0) -> Points:
    angles = [math.radians(turn_degrees + 360 * place / count) for place in range(count)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _star() -> Points:
    tips, waists = _corners(5, -90), _corners(5, -54, _STAR_WAIST)
    return [point for pair in zip(tips, waists, strict=True) for point in pair]


def _heart() -> Points:
    """The curve x = 16 sin³ t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t."""
    points = []
    for place in range(64):
        t = math.tau * place / 64
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((math.sin(t) ** 3, -(y + 2.5) / 16))
    return points


def _cross() -> Points:
    arm = _CROSS_ARM
    quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    turns = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    return [(x * cos - y * sin, x * sin + y * cos) for cos, sin in turns for x, y in quarter]


_POLYGONS: Mapping[str, Points] = {
    "square": _corners(4, 45, 1.22),
    "triangle": [(x, y + 0.2) for x, y in _corners(3, -90, 1.15)],
    "star": _star(),
    "diamond": [(0.0, -1.1), (0.75, 0.0), (0.0, 1.1), (-0.75, 0.0)],
    "heart": _heart(),
    "cross": _cross(),
}
"""Corners within a circle of about radius 1, y downwards."""
SHAPES = ("circle", "ring", *_POLYGONS)


def coverage(item: Item, side: int = SIDE) -> Coverage:
    """How much of each pixel of a picture the shape covers."""
    large = side * _OVERSAMPLING
    mask = Image.new("L", (large, large))
    pen = ImageDraw.Draw(mask)
    x, y, radius = item.x * large, item.y * large, item.radius * large
    if item.shape in _POLYGONS:
        pen.polygon([(x + radius * dx, y + radius * dy) for dx, dy in _POLYGONS[item.shape]], fill=255)
    else:
        pen.circle((x, y), radius, fill=255)
        if item.shape == "ring":
            pen.circle((x, y), radius * _RING_HOLE, fill=0)
    return np.asarray(mask.reduce(_OVERSAMPLING), dtype=np.float32) / 255.0


def draw(scene: Scene, side: int = SIDE) -> Pixels:
    """The picture of a scene."""
    picture = np.empty((side, side, 3), np.float32)
    picture[:] = scene.background
    for item in scene.items:
        covered = coverage(item, side)[..., None]
        picture += covered * (np.asarray(item.colour, np.float32) - picture)
    return np.rint(picture).astype(np.uint8)
