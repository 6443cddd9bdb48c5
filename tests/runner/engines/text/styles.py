"""Ways of writing answers, for the tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mlx_lm.tool_parsers import json_tools, mistral

from paddock.protocol import Frame, Text, Thinking, ToolCall
from paddock.runner.engines.text.answer.style import AnswerStyle, ToolSyntax


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = (tool("add", a={"type": "integer"}, b={"type": "integer"}), tool("weather", city={"type": "string"}))
HERMES = ToolSyntax(json_tools.tool_call_start, json_tools.tool_call_end, json_tools.parse_tool_call, TOOLS)
MISTRAL = ToolSyntax(mistral.tool_call_start, mistral.tool_call_end, mistral.parse_tool_call, TOOLS)
THINKING = AnswerStyle(think_start="<think>", think_end="</think>")
EVERYTHING = AnswerStyle(think_start="<think>", think_end="</think>", tool_syntax=HERMES)


def written(name: str, **arguments: Any) -> str:
    """A call as hermes models write it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def summary(frames: Sequence[Frame]) -> list[Any]:
    """Neighbouring frames of one kind as one: ("text", …), ("thinking", …), ("call", name, arguments)."""
    found: list[Any] = []
    for frame in frames:
        if isinstance(frame, ToolCall):
            found.append(("call", frame.name, frame.arguments))
            continue
        assert isinstance(frame, Text | Thinking)
        kind = "text" if isinstance(frame, Text) else "thinking"
        if found and found[-1][0] == kind:
            found[-1] = (kind, found[-1][1] + frame.content)
        else:
            found.append((kind, frame.content))
    return found
