"""Which tools a model is offered, and whether it has to call one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from paddock.api.tools import vetted_tools
from paddock.errors import InvalidField, Unsupported
from paddock.store.library import StoredModel

Choice = Literal["auto", "none", "required"]

_CHOICES: Mapping[object, Choice] = {"auto": "auto", "none": "none", "required": "required"}


@dataclass(frozen=True)
class Offer:
    """The tools of a request, in the words of `protocol.ChatRequest`."""

    tools: tuple[dict[str, Any], ...] = ()
    choice: Choice = "auto"
    name: str = ""
    """With "required": the one that has to be called; empty for any."""
    one_call: bool = False
    """Whether the answer ends with its first call."""


def offer_of(
    tools: Sequence[object] | None,
    tool_choice: object,
    *,
    one_call: bool,
    model: StoredModel,
    field: str = "tool_choice",
) -> Offer:
    """The offer, from tools as chat completions have them ({"type": "function", "function": {...}}).

    `tool_choice` is a word, or an object that names a function (as chat completions or as responses write it), or one
    that allows some of the tools. InvalidField, BadRequest; Unsupported if the model cannot call any.
    """
    vetted = vetted_tools(tools)
    choice, names, is_named = _chosen(tool_choice, field)
    known = {tool["function"]["name"] for tool in vetted}
    if missing := [name for name in names if name not in known]:
        raise InvalidField(f'"{field}" names "{missing[0][:64]}", which is not among the tools.', field)
    if choice == "required" and not vetted:
        raise InvalidField(f'"{field}" demands a call, but there are no tools: offer some.', field)
    if vetted and choice != "none" and "tools" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support tools')
    if is_named:
        return Offer(vetted, choice, names[0], one_call)
    allowed = tuple(tool for tool in vetted if not names or tool["function"]["name"] in names)
    return Offer(allowed, choice, one_call=one_call)


def _chosen(tool_choice: object, field: str) -> tuple[Choice, list[str], bool]:
    """What is asked for, the names of the tools that it is asked of (empty for all), and whether it is that one."""
    if tool_choice is None:
        return "auto", [], False
    if isinstance(tool_choice, str) and tool_choice in _CHOICES:
        return _CHOICES[tool_choice], [], False
    if isinstance(tool_choice, Mapping) and tool_choice.get("type") == "function":
        return "required", [_name_in(tool_choice, field)], True
    if isinstance(tool_choice, Mapping) and tool_choice.get("type") == "allowed_tools":
        return *_allowed(tool_choice.get("allowed_tools", tool_choice), field), False
    raise InvalidField(f'"{field}" must be none, auto or required, name a function, or list allowed_tools.', field)


def _allowed(listed: object, field: str) -> tuple[Choice, list[str]]:
    """What stands in `allowed_tools`: {"mode": "auto" or "required", "tools": [...]}."""
    if not isinstance(listed, Mapping) or listed.get("mode") not in ("auto", "required"):
        raise InvalidField(f'The mode of allowed_tools in "{field}" must be auto or required.', field)
    tools = listed.get("tools")
    if not isinstance(tools, list) or not tools:
        raise InvalidField(f'The allowed_tools in "{field}" must list at least one of the tools.', field)
    return _CHOICES[listed["mode"]], [_name_in(tool, field) for tool in tools]


def _name_in(tool: object, field: str) -> str:
    if isinstance(tool, Mapping) and tool.get("type", "function") == "function":
        function = tool.get("function", tool)
        name = function.get("name") if isinstance(function, Mapping) else None
        if isinstance(name, str):
            return name
    raise InvalidField(f'"{field}" must tell the names of functions.', field)
