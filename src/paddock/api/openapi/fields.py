"""What becomes of each field of a request: read from the `FIELDS` beside the Structs, and told as a page."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import inspect

from paddock.api.openapi.operations import OPERATIONS, Operation
from paddock.options import (
    MAX_STOP_BYTES,
    MAX_STOP_STRINGS,
    NEUTRAL,
    PICTURE_OPTIONS,
    RUNNER_OPTIONS,
    SAMPLING_OPTIONS,
)

REQUIRED = "honoured, required"
BEGINNINGS = ("honoured", "no effect", "400")
"""One of them opens every clause."""

_HEAD = """# Fields of requests

What becomes of every field that a route documents. *Honoured* is what the clause says; *no effect* asks for nothing
that would change the answer; *400* is answered with a sentence that names the field. A field that is not in the tables
is passed over, as it is by the servers that clients were written for. Of every field, null means that it is not given.
"""


def clause_of(kind: type[msgspec.Struct], name: str) -> str:
    """What becomes of the field under this name on the wire; empty where nobody says.

    In a module whose Structs mean several things by one name, "Struct.field" goes before "field".
    """
    for base in kind.__mro__:
        found: Mapping[str, str] = getattr(sys.modules[base.__module__], "FIELDS", {})
        for key in (f"{kind.__name__}.{name}", f"{base.__name__}.{name}", name):
            if key in found:
                return found[key]
    return ""


def fields_of(kind: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    """The fields of a Struct in their order."""
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    return found.fields


def structs_in(kind: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """A Struct, and all those within it, each once."""
    found: dict[type[msgspec.Struct], None] = {}
    waiting: list[type[msgspec.Struct]] = [kind]
    while waiting:
        one = waiting.pop(0)
        if one not in found:
            found[one] = None
            waiting += [inner for field in fields_of(one) for inner, _ in _held(field.type)]
    return list(found)


def _held(kind: inspect.Type, mark: str = "") -> Iterator[tuple[type[msgspec.Struct], str]]:
    """The Structs that a value may be or hold, without what these hold themselves; each with `[]` for every list, and
    `.*` for every object of any names, around it."""
    match kind:
        case inspect.StructType():
            yield kind.cls, mark
        case inspect.Metadata():
            yield from _held(kind.type, mark)
        case inspect.UnionType():
            for member in kind.types:
                yield from _held(member, mark)
        case inspect.ListType() | inspect.VarTupleType():
            yield from _held(kind.item_type, f"{mark}[]")
        case inspect.DictType():
            yield from _held(kind.value_type, f"{mark}.*")


def fields_page() -> str:
    """The page of all fields, in Markdown: a table for each route that takes a body."""
    sections = [_section(route, operation) for route, operation in OPERATIONS.items() if operation.body]
    return "\n".join([_HEAD, *sections, _options()])


def _options() -> str:
    rows = [
        f"| `{name}` | {number.type_name} | {number.least} to {number.most} |"
        for name, number in {**SAMPLING_OPTIONS, **RUNNER_OPTIONS}.items()
    ]
    rows += [
        f"| `stop` | array | up to {MAX_STOP_STRINGS} strings of 1 to {MAX_STOP_BYTES} bytes |",
        *(
            f"| `{name}` | float32 | of pictures, as the field of the image routes |"
            for name in ("guidance", "strength")
        ),
        *(f"| `{name}` | | no effect: only {_words(values)} |" for name, values in NEUTRAL.items()),
    ]
    taken = ", ".join(f"`{name}`" for name in sorted(PICTURE_OPTIONS | {"guidance", "strength"}))
    about = (
        f"Every other one, and every value outside, is answered 400. A model that makes pictures takes {taken} alone."
    )
    return "\n".join(["## Options", "", about, "", "| Option | Type | Values |", "|---|---|---|", *rows, ""])


def _words(values: Sequence[object]) -> str:
    return " or ".join(json.dumps(value) for value in values)


def _section(route: str, operation: Operation) -> str:
    assert operation.body is not None
    rows = [f"| `{name}` | {_in_a_cell(clause)} |" for name, clause in rows_of(operation.body)]
    title = f"## {route}\n\nIn the dialect of {operation.dialect}."
    return "\n".join([title, "", "| Field | What becomes of it |", "|---|---|", *rows, ""])


def rows_of(body: type[msgspec.Struct]) -> Iterator[tuple[str, str]]:
    """Names and clauses; those of Structs within others have a path before their name."""
    return _below(body, "", ())


def _below(kind: type[msgspec.Struct], path: str, above: tuple[type[msgspec.Struct], ...]) -> Iterator[tuple[str, str]]:
    for field in fields_of(kind):
        place = f"{path}{field.encode_name}"
        yield place, clause_of(kind, field.encode_name)
        for inner, mark in _held(field.type):
            if inner not in (*above, kind):
                yield from _below(inner, f"{place}{mark}.", (*above, kind))


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|")
