"""Tools that a model may call, and calls of earlier turns, as clients write them: vetted before anything reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from paddock.api.schemas import WireCall
from paddock.errors import BadRequest
from paddock.protocol import CalledTool

MAX_TOOLS = 128
MAX_TOOLS_BYTES = 256 * 1024
MAX_CALLS = 128
MAX_DEPTH = 32
"""Levels of a definition's schema, or of the arguments of a call."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_NO_PARAMETERS = {"type": "object", "properties": {}}


def vetted_tools(tools: Sequence[object] | None) -> tuple[dict[str, Any], ...]:
    """The definitions in OpenAI's form, which is Ollama's. BadRequest for the first that is none."""
    if not tools:
        return ()
    if len(tools) > MAX_TOOLS:
        raise BadRequest(f"A request may offer at most {MAX_TOOLS} tools: offer fewer.")
    found = tuple(map(_tool, tools))
    names = [tool["function"]["name"] for tool in found]
    if len(set(names)) < len(names):
        raise BadRequest("Two of the tools have the same name: give each its own.")
    if _depth(found) > MAX_DEPTH:
        raise BadRequest(f"The tools are nested in more than {MAX_DEPTH} levels: make their parameters simpler.")
    if len(msgspec.json.encode(found)) > MAX_TOOLS_BYTES:
        raise BadRequest(f"The tools are larger than {MAX_TOOLS_BYTES} bytes together: shorten them.")
    return found


def called_tools(calls: Sequence[WireCall] | None) -> tuple[CalledTool, ...]:
    """The calls of an earlier turn. BadRequest for one without a name."""
    if not calls:
        return ()
    if len(calls) > MAX_CALLS:
        raise BadRequest(f"A message may hold at most {MAX_CALLS} tool calls.")
    return tuple(map(_call, calls))


def _tool(tool: object) -> dict[str, Any]:
    if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
        raise BadRequest('Each tool must be an object of the type "function".')
    function = tool.get("function")
    if not isinstance(function, Mapping):
        raise BadRequest('Each tool must have a "function" that describes it.')
    known = {key: value for key, value in function.items() if value is not None}
    name, description = known.get("name"), known.get("description", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadRequest("The name of a tool must have 1 to 128 letters, digits, underscores, dots or hyphens.")
    if not isinstance(description, str):
        raise BadRequest(f'The description of the tool "{name}" must be a text.')
    parameters = known.get("parameters", _NO_PARAMETERS)
    if not isinstance(parameters, Mapping) or not isinstance(parameters.get("properties") or {}, Mapping):
        raise BadRequest(f'The parameters of the tool "{name}" must be a JSON schema of an object.')
    return {"type": "function", "function": {**known, "parameters": parameters}}


def _call(call: WireCall) -> CalledTool:
    function = call.function
    if not function or not function.name:
        raise BadRequest("Each tool call must have a function with a name.")
    arguments = function.arguments or {}
    if _depth(arguments) > MAX_DEPTH:
        raise BadRequest(f"The arguments of a tool call are nested in more than {MAX_DEPTH} levels.")
    return CalledTool(name=function.name, arguments=arguments, id=call.id or "")


def _depth(value: object) -> int:
    """Levels of lists and objects, counted no further than it matters."""
    depth, level = 0, [value]
    while depth <= MAX_DEPTH and level:
        depth += 1
        level = [inner for each in level for inner in _inside(each)]
    return depth


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
