"""What a model can do beside talking, told from the text of its chat template and the names of its tokens alone."""

from __future__ import annotations

from collections.abc import Container

THINKING_MARKS = (
    ("<think>", "</think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<|think:start|>", "<|think:end|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|open|>think", "<|close|>think"),
)
"""How models mark where thinking begins and ends. One of the two in a template says that the model thinks."""

_TOOL_MARKS = (
    ("<minimax:tool_call>",),
    ("<|tool_call>", "<tool_call|>"),
    ("<start_function_call>",),
    ("<longcat_tool_call>",),
    ("<arg_key>",),
    ("<|tool_list_start|>",),
    ("<|tool_call_start|>",),
    ("<tool_call>\\n<function=",),
    ("<tool_call>\n<function=",),
    ("<|tool_calls_section_begin|>",),
    ('<function name="', '<param name="'),
    ("[TOOL_CALLS]",),
    ("<atem:function_calls>",),
    ("<tool_call>", "tool_call.name"),
    ("to=functions.", "<|channel|>"),
)
"""Sets of words of which all are in the templates of models whose calls can be read."""

INFILL_MARKS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
)
"""Tokens before the text ahead of a gap, before the text behind it, and before what goes into it."""


def is_harmony(template: str) -> bool:
    """Whether answers are written in channels, as gpt-oss does."""
    return "<|channel|>" in template and "<|message|>" in template


def thinks(template: str) -> bool:
    """Whether the model thinks before it answers, and tells where that ends."""
    return is_harmony(template) or any(mark in template for marks in THINKING_MARKS for mark in marks)


def calls_tools(template: str) -> bool:
    """Whether the template shows tools to the model, and its calls can be read."""
    return "tools" in template and any(all(word in template for word in words) for words in _TOOL_MARKS)


def infill_marks(tokens: Container[str]) -> tuple[str, str, str] | None:
    """The marks with which a model of these tokens fills gaps; None if it has none."""
    return next((marks for marks in INFILL_MARKS if all(mark in tokens for mark in marks)), None)
