"""Which tools a model is offered, and whether it has to call one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from paddock.api.anthropic.schemas import Tool, ToolChoice
from paddock.api.tools import vetted_tools
from paddock.errors import InvalidField, Unsupported
from paddock.store.library import StoredModel

_CHOICES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "required",
    "none": "none",
}


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The tools of a request, in the words of `protocol.ChatRequest`."""

    tools: tuple[dict[str, Any], ...] = ()
    choice: Literal["auto", "none", "required"] = "auto"
    name: str = ""
    one_call: bool = False


def offer_of(tools: Sequence[Tool] | None, choice: ToolChoice | None, model: StoredModel) -> Offer:
    """The offer of a body. InvalidField, BadRequest; Unsupported if the model cannot call tools."""
    wanted = choice or ToolChoice(type="auto")
    if wanted.type not in _CHOICES:
        raise InvalidField('The type of "tool_choice" must be "auto", "any", "tool" or "none".', "tool_choice")
    if choice is not None and not tools:
        raise InvalidField('"tool_choice" needs "tools" to choose from.', "tool_choice")
    name = (wanted.name or "") if wanted.type == "tool" else ""
    if wanted.type == "tool" and name not in {tool.name for tool in tools or ()}:
        raise InvalidField('"tool_choice" names a tool that is not among the "tools".', "tool_choice")
    for tool in tools or ():
        _check(tool)
    offered = vetted_tools([_function(tool) for tool in tools or ()])
    if offered and wanted.type != "none" and "tools" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support tools')
    one_call = wanted.disable_parallel_tool_use is True
    return Offer(tools=offered, choice=_CHOICES[wanted.type], name=name, one_call=one_call)


def _check(tool: Tool) -> None:
    if tool.type not in (None, "custom"):
        raise Unsupported(
            f'Tools of the type "{tool.type[:64]}" are Anthropic\'s own: offer a tool of yours, with an "input_schema".'
        )
    if tool.input_schema is None:
        raise InvalidField('Each tool must have an "input_schema".', "tools")
    if tool.defer_loading:
        raise Unsupported('"defer_loading" is not supported: every tool is shown to the model from the beginning.')
    if tool.allowed_callers is not None and "direct" not in tool.allowed_callers:
        raise Unsupported('Tools can only be called directly: "allowed_callers" must have "direct" among them.')


def _function(tool: Tool) -> dict[str, Any]:
    """As OpenAI writes it. Examples stand where JSON Schema has them."""
    examples = {"examples": tool.input_examples} if tool.input_examples else {}
    parameters = {**(tool.input_schema or {}), **examples}
    strict = {"strict": True} if tool.strict else {}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters, **strict}
    return {"type": "function", "function": function}
