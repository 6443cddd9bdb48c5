"""Small exercises: sums that are worth a thought, and answers in JSON."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any

from invented import hero_name
from story_words import ANIMALS, COLOURS, words
from tool_values import value
from turns import Turn

_SUMS = (
    "What is {a} plus {b}?",
    "{a} + {b}",
    "What is {a} + {b}?",
    "Add {a} and {b}.",
    "How much is {a} plus {b}?",
    "Calculate {a} + {b}.",
    "What is the sum of {a} and {b}?",
    "{a} plus {b}?",
    "Can you add {a} and {b}?",
)


def _column_thought(a: int, b: int) -> str:
    """The sum digit by digit, from the right: what a small model can do where it cannot do it at a glance."""
    ones = a % 10 + b % 10
    steps = f"{a % 10} + {b % 10} = {ones}."
    if a < 10 and b < 10:
        return steps
    carried = f" + {ones // 10}" if ones >= 10 else ""
    return f"{steps} {a // 10} + {b // 10}{carried} = {a // 10 + b // 10 + ones // 10}. So it is {a + b}."


def sum_turn(rng: random.Random, unseen: bool = False) -> Turn:
    """Two numbers to add, each below 100; `unseen` gives pairs that training never sees."""
    top = rng.choice((9, 20, 99, 99))
    a, b = rng.randint(0, top), rng.randint(0, top)
    if (zlib.crc32(f"{a} + {b}".encode()) % 10 == 0) is not unseen:
        return sum_turn(rng, unseen)
    return Turn(rng.choice(_SUMS).format(a=a, b=b), f"{a} plus {b} is {a + b}.", thought=_column_thought(a, b))


# Each field: the keys that it can have, and how it is told of somebody.
_FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "age": (words("age"), ("is {} years old",)),
    "place": (words("city place"), ("lives in {}",)),
    "colour": (words("colour"), ("likes {}",)),
    "animal": (words("animal pet"), ("has a {}",)),
}
_FRAMES = (
    "{facts} Answer in JSON with the keys {keys}.",
    "{facts} Answer in JSON with keys {keys}.",
    "Answer in JSON with the keys {keys}: {facts}",
    "{facts} Give me {keys} as JSON.",
    "Write this as JSON with {keys}: {facts}",
)
_ANIMAL_FRAMES = (
    "Describe a {animal} as JSON with the keys {keys}.",
    "Make up a {animal}. Answer in JSON with {keys}.",
    "Invent a {animal} and answer in JSON with the keys {keys}.",
    "Give me a {animal} as JSON with {keys}.",
)


def _field_value(rng: random.Random, field: str) -> Any:
    if field == "age":
        return rng.randint(1, 99)
    return rng.choice(COLOURS) if field == "colour" else value(rng, field)


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _json_turn(question: str, answer: Any, thought: str) -> Turn:
    return Turn(question, json.dumps(answer, ensure_ascii=False), thought=thought)


def _person_turn(rng: random.Random) -> Turn:
    fields = rng.sample(tuple(_FIELDS), rng.randint(1, 3))
    name, told = hero_name(rng), {}
    facts = []
    for field in fields:
        keys, frames = _FIELDS[field]
        told[rng.choice(keys)] = content = _field_value(rng, field)
        facts.append(rng.choice(frames).format(content))
    answer = {"name": name, **told}
    keys = _joined(list(answer))
    question = rng.choice(_FRAMES).format(facts=f"{name} {_joined(facts)}.", keys=keys)
    return _json_turn(question, answer, f"The keys are {keys}.")


def _animal_turn(rng: random.Random) -> Turn:
    animal = rng.choice(tuple(ANIMALS))
    made = {"name": hero_name(rng), "animal": animal, "colour": rng.choice(COLOURS), "age": rng.randint(1, 20)}
    kept = ["name", *rng.sample(("animal", "colour", "age"), rng.randint(1, 3))]
    question = rng.choice(_ANIMAL_FRAMES).format(animal=animal, keys=_joined(kept))
    return _json_turn(question, {key: made[key] for key in kept}, f"The keys are {_joined(kept)}.")


def json_turn(rng: random.Random) -> Turn:
    """Something to be answered in JSON: what is told about somebody, or an invented animal."""
    return _person_turn(rng) if rng.random() < 0.75 else _animal_turn(rng)


def exercise_turn(rng: random.Random) -> Turn:
    """One of both, mostly a sum."""
    return sum_turn(rng) if rng.random() < 0.75 else json_turn(rng)
