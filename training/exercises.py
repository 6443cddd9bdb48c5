"""Small exercises: sums and comparisons that are worth a thought, and answers in JSON."""

from __future__ import annotations

import json
import random
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
_LARGER = (
    "Which is larger, {a} or {b}?",
    "Which number is larger: {a} or {b}?",
    "What is more, {a} or {b}?",
    "Is {a} or {b} larger?",
)
_SMALLER = ("Which is smaller, {a} or {b}?", "Which number is smaller: {a} or {b}?", "What is less, {a} or {b}?")


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
    if ((a * 37 + b) % 10 == 0) is not unseen:
        return sum_turn(rng, unseen)
    return Turn(rng.choice(_SUMS).format(a=a, b=b), f"{a} plus {b} is {a + b}.", thought=_column_thought(a, b))


def compare_turn(rng: random.Random) -> Turn:
    """Two numbers of which one is larger."""
    a, b = rng.sample(range(100), 2)
    if rng.random() < 0.6:
        question, best, word = rng.choice(_LARGER), max(a, b), "larger"
    else:
        question, best, word = rng.choice(_SMALLER), min(a, b), "smaller"
    other = a + b - best
    thought = f"{best} has {best // 10} tens, and {other} has {other // 10}."
    if best // 10 == other // 10:
        thought = f"Both have {best // 10} tens. {best % 10} is {word} than {other % 10}."
    return Turn(question.format(a=a, b=b), f"{best} is {word} than {other}.", thought=thought)


# Each field: the keys that it can have, and how it is told of somebody.
_FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "age": (words("age years"), ("is {} years old", "is {}")),
    "place": (words("city town place home"), ("lives in {}", "comes from {}")),
    "colour": (words("colour color favourite_colour"), ("likes {}", "loves the colour {}")),
    "animal": (words("animal pet"), ("has a {}", "owns a {}")),
}
_FRAMES = (
    "{facts} Answer in JSON with the keys {keys}.",
    "{facts} Answer in JSON with keys {keys}.",
    "Answer in JSON with keys {keys}: {facts}",
    "Answer in JSON with the keys {keys}: {facts}",
    "Extract {keys} as JSON: {facts}",
    "{facts} Reply as JSON with {keys}.",
    "{facts} Give me {keys} as JSON.",
    "Write this as JSON with {keys}: {facts}",
    "Give me a JSON object with {keys}. {facts}",
)
_ANIMAL_FRAMES = (
    "Describe a {animal} as JSON with the keys {keys}.",
    "Make up a {animal}. Answer in JSON with {keys}.",
    "Invent a {animal} and answer in JSON with the keys {keys}.",
    "Give me a {animal} as JSON with {keys}.",
)
_LIST_FRAMES = ("List three {what} as JSON.", "Give me a JSON list of three {what}.", "Three {what} in JSON, please.")


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


def _list_turn(rng: random.Random) -> Turn:
    what, known = rng.choice((("animals", tuple(ANIMALS)), ("colours", COLOURS)))
    question = rng.choice(_LIST_FRAMES).format(what=what)
    return _json_turn(question, {what: rng.sample(known, 3)}, f"The user wants three {what}.")


def json_turn(rng: random.Random) -> Turn:
    """Something to be answered in JSON: what is told about somebody, an invented animal, or a list."""
    kind = rng.random()
    return _person_turn(rng) if kind < 0.7 else _animal_turn(rng) if kind < 0.88 else _list_turn(rng)
