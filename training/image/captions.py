"""What people ask for in words, and which scene that is. Requests and captions are drawn at random, from a given `rng`.

Some triples of shape, colour and background never occur in training (`held_out`): the finished model is judged by them.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from training.image.draw import PALETTE, SHAPES, Item, Scene

COLOURS = tuple(PALETTE)
_HELD_OUT_SHARE = 10
"""One triple in so many is held out."""
_SHAPE_WORDS: Mapping[str, tuple[str, ...]] = {
    "circle": ("circle", "circle", "disc", "dot", "ball"),
    "diamond": ("diamond", "diamond", "rhombus"),
    "ring": ("ring", "ring", "donut", "hoop"),
    "cross": ("cross", "cross", "plus sign"),
    "square": ("square", "square", "box"),
}
_COLOUR_WORDS: Mapping[str, tuple[str, ...]] = {
    "grey": ("grey", "gray"),
    "purple": ("purple", "purple", "violet"),
}
_FAVOURITES: Mapping[str, str] = {
    "circle": "red",
    "square": "blue",
    "triangle": "green",
    "star": "yellow",
    "diamond": "purple",
    "ring": "orange",
    "heart": "red",
    "cross": "black",
}
"""The colour of a shape that nobody gave one."""
_SIZE_WORDS: Mapping[str, tuple[str, ...]] = {
    "small": ("small", "small", "tiny", "little"),
    "medium": ("",),
    "large": ("large", "big", "big", "huge"),
}
_RADII: Mapping[str, float] = {"small": 0.14, "medium": 0.29, "large": 0.40}
_PLACED_RADIUS = 0.19
_PLACES: Mapping[str, tuple[float, float]] = {
    "top left": (0.27, 0.27),
    "top": (0.5, 0.27),
    "top right": (0.73, 0.27),
    "left": (0.27, 0.5),
    "right": (0.73, 0.5),
    "bottom left": (0.27, 0.73),
    "bottom": (0.5, 0.73),
    "bottom right": (0.73, 0.73),
}
_CENTRE = (0.5, 0.5)
_PLACE_JITTER, _RADIUS_JITTER = 0.015, 0.04
_OPENINGS = (
    *[""] * 10,
    "draw ",
    "please draw ",
    "paint ",
    "show me ",
    "make ",
    "create ",
    "a picture of ",
    "a drawing of ",
    "an image of ",
    "draw a picture of ",
    "generate an image of ",
    "i would like to see ",
)
_CLOSINGS = (*[""] * 10, ".", "!", ", please", ", flat design", ", simple shapes", ", minimalist", ", digital art")
_BACKGROUNDS = (
    " on a {} background",
    " on a {} background",
    " on {}",
    " on {}",
    ", {} background",
    " with a {} background",
    " against a {} background",
    " in front of a {} background",
)
_CHATTER = (
    "hello",
    "could you do me a favour",
    "this is for my little sister",
    "i need it for a poster",
    "take your time",
    "it should look clean and friendly",
    "nothing else in the picture",
    "with sharp edges",
    "thank you so much",
    "we will print it on a card",
)


@dataclass(frozen=True)
class Subject:
    """One shape that is asked for."""

    shape: str
    colour: str
    size: str = "medium"
    place: str = ""


@dataclass(frozen=True)
class Request:
    """One shape, or two side by side or one `above` the other."""

    subjects: tuple[Subject, ...]
    background: str
    above: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is for one shape, and neither for a size nor for a place."""
        first, *others = self.subjects
        return not others and first.size == "medium" and not first.place


def held_out(shape: str, colour: str, background: str) -> bool:
    """Whether training never shows this shape in this colour on this background."""
    return zlib.crc32(f"{shape} {colour} {background}".encode()) % _HELD_OUT_SHARE == 0


def held_out_triples() -> list[tuple[str, str, str]]:
    """All of them, in an order that mixes them."""
    triples = [(s, c, b) for s in SHAPES for c in COLOURS for b in COLOURS if c != b and held_out(s, c, b)]
    return sorted(triples, key=lambda triple: zlib.crc32(" ".join(triple[::-1]).encode()))


def default_background(colour: str) -> str:
    """What a shape lies on if nobody says it."""
    return "black" if colour == "white" else "white"


def random_request(rng: random.Random) -> Request:
    """Something that training may show."""
    while True:
        background = rng.choice(COLOURS)
        count = 2 if rng.random() < 0.12 else 1
        subjects = tuple(_random_subject(rng, background, alone=count == 1) for _ in range(count))
        if not any(held_out(subject.shape, subject.colour, background) for subject in subjects):
            return Request(subjects, background, above=count == 2 and rng.random() < 0.3)


def _random_subject(rng: random.Random, background: str, *, alone: bool) -> Subject:
    shape, colour = rng.choice(SHAPES), rng.choice([colour for colour in COLOURS if colour != background])
    if not alone or rng.random() < 0.6:
        return Subject(shape, colour)
    size, place = rng.choice(("small", "medium", "large")), rng.choice(("", *_PLACES))
    return Subject(shape, colour, size, "" if size == "large" else place)


def scene_of(request: Request, rng: random.Random) -> Scene:
    """What is drawn for a request; places and sizes vary a little."""
    items = []
    for index, subject in enumerate(request.subjects):
        x, y = _PLACES.get(subject.place, _CENTRE)
        radius = _RADII[subject.size]
        if len(request.subjects) == 2:
            along = (0.27, 0.73)[index]
            x, y = (0.5, along) if request.above else (along, 0.5)
        if len(request.subjects) == 2 or subject.place:
            radius = min(radius, _PLACED_RADIUS)
        x, y = (value + rng.uniform(-_PLACE_JITTER, _PLACE_JITTER) for value in (x, y))
        radius *= 1 + rng.uniform(-_RADIUS_JITTER, _RADIUS_JITTER)
        items.append(Item(subject.shape, PALETTE[subject.colour], x, y, radius))
    return Scene(tuple(items), PALETTE[request.background])


def caption(request: Request, rng: random.Random, *, wordy: bool = False) -> str:
    """One of many ways to ask for it. What it leaves out is what a reader would take for granted."""
    article = rng.choice(("a ", "a ", "a ", "the ", "one ", ""))
    nouns = [_noun(subject, request, rng, article) for subject in request.subjects]
    text = nouns[0] if len(nouns) == 1 else _joined(nouns, request, rng)
    usual = request.background == default_background(request.subjects[0].colour)
    if not (usual and len(nouns) == 1 and rng.random() < 0.5):
        background = rng.choice(_COLOUR_WORDS.get(request.background, (request.background,)))
        text += rng.choice(_BACKGROUNDS).format(background)
    text = rng.choice(_OPENINGS) + text + rng.choice(_CLOSINGS)
    if wordy:
        before, after = rng.sample(_CHATTER, 2)
        text = f"{before}, {text}, {after}"
    return text.replace(" a orange", " an orange").removeprefix(" ")


def _noun(subject: Subject, request: Request, rng: random.Random, article: str) -> str:
    size = rng.choice(_SIZE_WORDS[subject.size])
    colour = rng.choice(_COLOUR_WORDS.get(subject.colour, (subject.colour,)))
    if subject.colour == _FAVOURITES[subject.shape] and len(request.subjects) == 1 and rng.random() < 0.3:
        colour = ""
    words = [size, colour, rng.choice(_SHAPE_WORDS.get(subject.shape, (subject.shape,)))]
    return article + " ".join(word for word in words if word) + _place_words(subject, request, rng)


def _place_words(subject: Subject, request: Request, rng: random.Random) -> str:
    place = subject.place
    if not place:
        in_the_middle = len(request.subjects) == 1 and rng.random() < 0.1
        return rng.choice((" in the middle", " in the centre", " in the center")) if in_the_middle else ""
    if " " in place:
        return rng.choice((f" in the {place} corner", f" in the {place} corner", f" at the {place}", f" {place}"))
    side = "on" if place in ("left", "right") else "at"
    return rng.choice((f" {side} the {place}", f" {side} the {place}", f" {place}"))


def _joined(nouns: list[str], request: Request, rng: random.Random) -> str:
    first, second = nouns
    if request.above:
        return rng.choice((f"{first} above {second}", f"{first} over {second}"))
    ways = (
        f"{first} and {second}",
        f"{first} next to {second}",
        f"{first} left of {second}",
        f"{first} on the left and {second} on the right",
    )
    return rng.choice(ways)
