"""Request bodies: read with a bound, parsed strictly, refused with one sentence."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from paddock.api.door.bodies import BodyHold
from paddock.errors import BadRequest, Cancelled, InvalidField

MAX_JSON_BYTES = 64 * 1024 * 1024
"""Where the door gives a route no other bound."""
MOST_DEPTH = 64
"""Of objects and lists in one another: deeper ones would exhaust the stack of whoever walks through them."""
MOST_PARTS = 250_000
"""Of objects, lists and strings: each takes many times the memory of its letters."""

# A text that does not end goes on to the end, and nothing is looked at twice: the time is linear whatever comes.
_PART = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|[\[{\]}]', re.DOTALL)
_OPENING, _CLOSING = b"[{", b"]}"
_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**64 - 1
MOST_ARGUMENT_BITS = 1024
"""Of an integer in the arguments of a call, which are handed on as they are: a floating number goes no further."""
_LONGEST_REASON = 200

AnyBody = TypeVar("AnyBody", bound=msgspec.Struct)


class BodyTooLarge(BadRequest):
    """More bytes than any request needs."""

    code = "body_too_large"


class EncodedBody(BadRequest):
    """A body that was compressed, which no client needs and which can unpack to any size."""

    code = "encoded_body"


async def read_json(request: Request, kind: type[AnyBody]) -> AnyBody:
    """The body as `kind`. The content type is not looked at: Ollama's clients send all sorts of them.

    Of a key that comes twice, the last counts, as for every other server of these APIs. BadRequest for anything that is
    not what the route documents; BodyTooLarge and EncodedBody.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise EncodedBody("The request body is compressed: send it as it is, without Content-Encoding.")
    data = bytearray()
    async for chunk in bounded(request):
        data += chunk
    if not data or data.isspace():
        raise BadRequest("missing request body")
    check_shape(data)
    try:
        body = msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidField(in_words(str(error)), field_in(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("The request body is not valid JSON.") from None
    if has_long_integer(body):
        raise BadRequest(
            "The request body holds an integer of more than 64 bits, "
            f"or in the arguments of a call of more than {MOST_ARGUMENT_BITS}."
        )
    return body


def has_long_integer(value: object, least: int = _LEAST_INTEGER, most: int = _MOST_INTEGER) -> bool:
    """Whether there is one beyond these, or in the arguments of a call one beyond theirs: fields that a Struct names in
    `arguments_of_calls`. Nothing is nested deeply here: `check_shape` went before."""
    if isinstance(value, int):
        return not least <= value <= most
    if isinstance(value, list):
        if value and type(value[0]) is int:
            with suppress(TypeError):  # of several types
                return not least <= min(value) <= max(value) <= most
        return any(has_long_integer(each, least, most) for each in value)
    if isinstance(value, dict):
        return any(has_long_integer(each, least, most) for each in value.values())
    if isinstance(value, msgspec.Struct):
        free = getattr(value, "arguments_of_calls", ())
        fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
        return any(
            has_long_argument(each) if name in free else has_long_integer(each, least, most) for name, each in fields
        )
    return False


def has_long_argument(value: object) -> bool:
    """Whether there is an integer that is too long even among the arguments of a call."""
    most = 2**MOST_ARGUMENT_BITS
    return has_long_integer(value, -most, most)


def check_shape(data: bytes | bytearray) -> None:
    """BadRequest for JSON that is nested too deeply or made of too many parts, before anything is made of it.

    Nearly all bodies are seen to be harmless by counting; what is not JSON is left to the parser.
    """
    containers = data.count(b"[") + data.count(b"{")
    if containers <= MOST_DEPTH and data.count(b'"') <= 2 * MOST_PARTS:
        return
    depth = 0
    for parts, found in enumerate(_PART.finditer(data)):
        letter = data[found.start()]
        depth += (letter in _OPENING) - (letter in _CLOSING)
        if depth > MOST_DEPTH:
            raise BadRequest(f"The request body is nested too deeply: {MOST_DEPTH} levels are the most.")
        if parts >= MOST_PARTS:
            raise BadRequest(
                f"The request body has too many parts: {MOST_PARTS} objects, lists and texts are the most."
            )


async def bounded(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it comes; BodyTooLarge beyond the bound of its route, Busy where all bodies together are too large,
    Cancelled for a client that goes before its end."""
    state = request.scope.get("state", {})
    most_bytes: int = state.get("body_bytes", MAX_JSON_BYTES)
    hold: BodyHold | None = state.get("body_hold")
    too_large = BodyTooLarge(f"The request body is larger than {most_bytes // 2**20} MiB.")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most_bytes:
        raise too_large
    size_bytes = 0
    try:
        async for chunk in request.stream():
            size_bytes += len(chunk)
            if size_bytes > most_bytes:
                raise too_large
            if hold is not None:
                hold.grow(len(chunk))
            yield chunk
    except ClientDisconnect:
        raise Cancelled("The client went away before its request was whole.") from None


def field_in(message: str) -> str:
    """The place in the body that msgspec's message is about, such as `messages[0].role`; empty for all of it."""
    return message.partition(" - at `$")[2].rstrip("`").removeprefix(".")[:_LONGEST_REASON]


def in_words(message: str) -> str:
    """msgspec's "Expected `str | null`, got `int` - at `$.prompt`" as a sentence about the field."""
    where = field_in(message)
    message = message.partition(" - at `$")[0]
    field = f'"{where}"' if where else "The request body"
    if found := re.fullmatch(r"Expected `(.+)`, got `(.+)`", message):
        expected = found[1].replace(" | null", "").replace(" | ", " or ")
        return f"{field} must be of type {expected}, not {found[2]}."
    reason = message[:1].lower() + message[1:_LONGEST_REASON]
    return f"{field} is not what this route expects: {reason}."
