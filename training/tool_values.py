"""Values of tools' arguments and results: what people ask about, partly held out of training."""

from __future__ import annotations

import random
import zlib

from invented import hero_name, invented_word
from story_words import ANIMALS, words

Value = str | int

CITIES = words(
    "Paris|London|Berlin|Rome|Madrid|Vienna|Tokyo|Oslo|Prague|Lisbon|Dublin|Athens|Cairo|Moscow|Warsaw|Zurich|Geneva|"
    "Boston|Chicago|Seattle|Toronto|Sydney|Delhi|Seoul|Lima|Milan|Naples|Hamburg|Munich|Cologne|Brussels|Budapest|"
    "Helsinki|Stockholm|New York|San Francisco|Los Angeles|Hong Kong|Mexico City|Cape Town|Buenos Aires|Rio|Dallas|"
    "Denver|Miami|Austin|Atlanta|Houston|Amsterdam|Barcelona|Istanbul|Bangkok|Singapore|Shanghai|Nairobi|Lagos|Kyoto",
    "|",
)
UNSEEN_CITIES = words(
    "Bergen|Valencia|Porto|Salzburg|Tampere|Leeds|Osaka|Santa Fe|Marseille|Torino|Havana|Bristol", "|"
)
SKIES = words("sunny|rainy|cloudy|windy|snowy|foggy|clear|stormy|warm and dry|light rain|heavy snow|partly cloudy", "|")
HELD_OUT_SHARE = 8


def number_held_out(number: int) -> bool:
    """Whether this number is kept out of the arguments of training."""
    return zlib.crc32(f"number {number}".encode()) % HELD_OUT_SHARE == 0


def _number(rng: random.Random, unseen: bool) -> int:
    while (
        number_held_out(number := rng.choice((rng.randint(0, 20), rng.randint(0, 99), rng.randint(0, 999)))) != unseen
    ):
        pass
    return number


def _place(rng: random.Random, unseen: bool) -> str:
    if unseen:
        return rng.choice(UNSEEN_CITIES)
    while (place := rng.choice(CITIES) if rng.random() < 0.6 else invented_word(rng).capitalize()) in UNSEEN_CITIES:
        pass
    return place


def value(rng: random.Random, kind: str, unseen: bool = False) -> Value:
    """A value of this kind; `unseen` gives one that training never uses, where there are such."""
    if kind == "number":
        return _number(rng, unseen)
    if kind == "place":
        return _place(rng, unseen)
    if kind == "name":
        return hero_name(rng)
    if kind == "animal":
        return rng.choice(tuple(ANIMALS))
    raise KeyError(kind)


def result_text(rng: random.Random, template: str, values: tuple[Value, ...]) -> str:
    """What a tool gives back."""
    numbers = [number for number in values if isinstance(number, int)]
    first, second = numbers[0] if numbers else 7, numbers[-1] if numbers else 3
    return template.format(
        n=rng.randint(1, 99),
        h=rng.randint(1, 23),
        m=rng.randint(10, 59),
        d=rng.randint(1, 9),
        sky=rng.choice(SKIES),
        sum=first + second,
        product=first * second,
        difference=first - second,
    )
