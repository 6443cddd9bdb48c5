"""Whether an answer has the shape of a recorded one: at least its keys, with values of the same types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

FIXED = {"object", "type", "event", "role", "done", "done_reason", "finish_reason", "stop_reason", "status"}
"""Keys whose values, where they are single words or flags, are part of the shape."""


def differences(recorded: Any, given: Any, path: str = "$") -> Iterator[str]:
    """What is missing or of another type. A recorded null says only that the key is there; whole numbers and fractions
    are one type; each item of a list has to look like one of the recorded ones."""
    if recorded is None:
        return
    if _type(recorded) is not _type(given):
        yield f"{path} is {given!r:.60}, and was recorded as {recorded!r:.60}"
    elif isinstance(recorded, dict):
        yield from _in_object(recorded, given, path)
    elif isinstance(recorded, list) and recorded:
        if not given:
            yield f"{path} is empty"
        for place, item in enumerate(given):
            found = [list(differences(one, item, f"{path}[{place}]")) for one in recorded]
            yield from min(found, key=len)


def _in_object(recorded: dict[str, Any], given: dict[str, Any], path: str) -> Iterator[str]:
    for key, value in recorded.items():
        place = f"{path}.{key}"
        if key not in given:
            yield f"{place} is missing"
        elif key in FIXED and _is_fixed(value) and value != given[key]:
            yield f"{place} is {given[key]!r}, and was recorded as {value!r}"
        else:
            yield from differences(value, given[key], place)


def _is_fixed(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and " " not in value)


def stream_differences(recorded: Sequence[Any], given: Sequence[Any]) -> Iterator[str]:
    """The same of a stream: the recorded shapes come in their order, the last one last, with others between them."""
    rest = iter(given)
    for place, shape in enumerate(recorded):
        closest: list[str] = ["nothing came any more"]
        for message in rest:
            found = list(differences(shape, message, f"[{place}]"))
            if not found:
                break
            closest = min(closest, found, key=len)
        else:
            yield f"no message like the recorded one {place}: {closest}"
            return
    yield from differences(recorded[-1], given[-1], "[last]")


def _type(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
