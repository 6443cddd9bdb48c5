"""Calls of tools as a grammar: the marks and words in which a model writes them, around each tool's own JSON schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paddock.errors import BadRequest
from paddock.runner.engines.text.answer.style import ToolSyntax
from paddock.runner.engines.text.grammar.schema_vetting import vet

MAX_TOOLS = 128
MAX_CALLS = 16


@dataclass(frozen=True)
class CallStyle:
    """How a model writes one call: opening, name, middle, arguments as JSON, closing. Marks among them may be special
    tokens of its tokenizer."""

    opening: str
    middle: str
    closing: str
    between: str = "\n"
    """Separates calls."""
    quotes_name: bool = True
    """Whether the name is a JSON string."""
    may_repeat: bool = True


HERMES = CallStyle('<tool_call>\n{"name": ', ', "arguments": ', "}\n</tool_call>")
MISTRAL = CallStyle("[TOOL_CALLS]", "[ARGS]", "", between="", quotes_name=False)


LONGCAT = CallStyle('<longcat_tool_call>\n{"name": ', ', "arguments": ', "}\n</longcat_tool_call>")
KIMI_K2 = CallStyle(
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.",
    ":0<|tool_call_argument_begin|>",
    "<|tool_call_end|><|tool_calls_section_end|>",
    quotes_name=False,
    may_repeat=False,
)
"""Calls are numbered within their section, so a grammar of several would need one rule for each number: one is let
through, which is also so for the next."""
KIMI_K3 = CallStyle(
    '<|open|>tools<|sep|><|open|>call tool="',
    '" index="1"<|sep|><|open|>json type="object"<|sep|>',
    "<|close|>json<|sep|><|close|>call<|sep|><|close|>tools<|sep|>",
    quotes_name=False,
    may_repeat=False,
)

_BY_PARSER = {
    "json_tools": HERMES,
    "mistral": MISTRAL,
    "longcat": LONGCAT,
    "kimi_k2": KIMI_K2,
    "kimi_k3": KIMI_K3,
}
"""By the module of mlx-lm that reads such calls. Those that are missing have no JSON for the arguments, or not by the
time that a call begins."""


def style_of_calls(syntax: ToolSyntax | None) -> CallStyle | None:
    """How a model writes calls whose reader is known; None if there is no grammar for them."""
    if syntax is None:
        return None
    return _BY_PARSER.get(getattr(syntax.parse, "__module__", "").rpartition(".")[2])


@dataclass(frozen=True)
class CallableTool:
    """A tool whose schema was vetted."""

    name: str
    parameters: Mapping[str, Any]


def chosen(tools: Sequence[Mapping[str, Any]], name: str) -> list[CallableTool]:
    """The tools that may be called, all of them if `name` is empty. BadRequest if there are none, or too many."""
    functions = [tool["function"] for tool in tools if not name or tool["function"]["name"] == name]
    if not functions:
        raise BadRequest("The tool that has to be called is not among the tools: check tool_choice.")
    if len(functions) > MAX_TOOLS:
        raise BadRequest(f"A call can be demanded of at most {MAX_TOOLS} tools: offer fewer.")
    return [CallableTool(function["name"], _parameters(function)) for function in functions]


def strict(tools: Sequence[Mapping[str, Any]]) -> list[CallableTool]:
    """All tools, of which those that are not strict take any object; none if no tool is strict. BadRequest."""
    functions = [tool["function"] for tool in tools]
    if not any(function.get("strict") is True for function in functions):
        return []
    return [
        CallableTool(function["name"], _parameters(function if function.get("strict") is True else {}))
        for function in functions
    ]


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return {"type": "object", **vet(json.dumps(function.get("parameters") or {}))}
    except BadRequest as error:
        raise BadRequest(f'The parameters of the tool "{function["name"][:64]}": {error.message}') from None


def lark(
    tools: Sequence[CallableTool],
    style: CallStyle,
    special_tokens: Mapping[str, int],
    json_options: Mapping[str, Any],
    answer: Mapping[str, Any] | None = None,
) -> str:
    """llguidance's grammar of one call or, where the style has them, up to MAX_CALLS of them; or else, where there is a
    schema for it, of an answer."""
    names = " | ".join(f"call_{index}" for index in range(len(tools)))
    more = f"({_literal(style.between, special_tokens)} call){{0,{MAX_CALLS - 1}}}" if style.may_repeat else ""
    rules = [f"start: call {more}" + (" | answer" if answer is not None else ""), f"call: {names}"]
    for index, tool in enumerate(tools):
        name = json.dumps(tool.name, ensure_ascii=False) if style.quotes_name else tool.name
        before = _literal(style.opening + name + style.middle, special_tokens)
        rules.append(f"call_{index}: {before} arguments_{index} {_literal(style.closing, special_tokens)}")
        rules.append(f"arguments_{index}: %json {_with(tool.parameters, json_options)}")
    if answer is not None:
        rules.append(f"answer: %json {_with(answer, json_options)}")
    return "\n".join(rules) + "\n"


def _with(schema: Mapping[str, Any], json_options: Mapping[str, Any]) -> str:
    return json.dumps({**schema, "x-guidance": dict(json_options)}, ensure_ascii=False)


def _literal(text: str, special_tokens: Mapping[str, int]) -> str:
    """A text in the words of llguidance's Lark: special tokens by their ids, the rest as strings."""
    marks = "|".join(re.escape(token) for token in sorted(special_tokens, key=len, reverse=True))
    pieces = [piece for piece in (re.split(f"({marks})", text) if marks else [text]) if piece]
    words = (f"<[{special_tokens[piece]}]>" if piece in special_tokens else json.dumps(piece) for piece in pieces)
    return " ".join(words) or '""'
