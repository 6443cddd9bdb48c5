"""What a script of a client tells: one line of JSON for each ability. It runs in the client's own environment, so it
needs nothing but Python."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeVar

URL = os.environ.get("PADDOCK_URL", "http://127.0.0.1:11434")
DEMO, PAINTER, CALLER, THINKER, VECTORS = "demo-at-once", "demo-image", "caller", "thinker", "vectors"
"""Models of the server: the packaged two (the first does not think here), one that calls a tool, one that thinks, one
that embeds."""

STORY = "Tell me a story about a red fox"
QUESTION = "How is the weather in Paris?"
ANSWER = "It is sunny in Paris."
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {"type": "function", "function": WEATHER}
PIXEL_SIGNATURE = b"\x89PNG"

Ability = Callable[[], object]
"""Shows it, or raises; what it returns is told as the detail."""
AnyError = TypeVar("AnyError", bound=Exception)


def raised(kind: type[AnyError], ask: Ability) -> AnyError:
    """The error of this kind that asking so raises."""
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError("no error was raised")


class Telling:
    """The abilities of one client, shown one after the other."""

    def __init__(self, client: str, package: str) -> None:
        self._client = client
        self._version = version(package)
        self._abilities: dict[str, Ability] = {}

    def shows(self, ability: str) -> Callable[[Ability], Ability]:
        """Marks a function as the proof of an ability."""

        def add(function: Ability) -> Ability:
            self._abilities[ability] = function
            return function

        return add

    def run(self) -> None:
        """Show all of them; none is left out because another failed."""
        for ability, function in self._abilities.items():
            try:
                ok, detail = True, str(function())
            except Exception as error:  # noqa: BLE001 -- clients raise all sorts of things, and the next is shown as well
                ok, detail = False, f"{type(error).__name__}: {error}"
            line = {"client": self._client, "version": self._version, "ability": ability, "ok": ok}
            print(json.dumps({**line, "detail": detail[:500]}), flush=True)
