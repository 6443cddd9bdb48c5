"""How the answers of one model have to be read: found from its tokenizer, and from the template in use."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from mlx_lm import tokenizer_utils
from mlx_lm.tokenizer_utils import TokenizerWrapper

from paddock.errors import Unsupported
from paddock.protocol import ChatRequest
from paddock.runner.engines.text.answer.spelling import spelling_of
from paddock.runner.engines.text.answer.style import AnswerStyle, ToolSyntax
from paddock.vetting import abilities


@dataclass(frozen=True)
class _Template:
    """As much of a tokenizer as the library's search for a parser looks at."""

    chat_template: str
    tokenizer: TokenizerWrapper

    def get_vocab(self) -> dict[str, int]:
        """The tokenizer's own."""
        return dict(self.tokenizer.get_vocab())


class Dialect:
    """The ways of one model. A template is None where the library renders in Python in place of one."""

    def __init__(self, tokenizer: TokenizerWrapper, own_template: str | None) -> None:
        self._tokenizer = tokenizer
        self._own_template = own_template
        self._spelling = spelling_of(tokenizer)

    def check(self, request: ChatRequest, template: str | None) -> None:
        """Unsupported for thinking or tools that this model has no way to write."""
        if request.think and not self.can_think(template):
            raise Unsupported("This model does not support thinking.")
        if offers_tools(request) and not self._can_call(template):
            raise Unsupported("This model does not support tools.")

    def can_think(self, template: str | None) -> bool:
        """Whether the model can think before it answers."""
        return bool(self._tokenizer.has_thinking) if template is None else abilities.thinks(template)

    def thinks(self, request: ChatRequest, template: str | None) -> bool:
        """Whether it will: models that can think do, unless they are told not to."""
        return request.think is not False and self.can_think(template)

    def plain(self) -> AnswerStyle:
        """How a text is read that continues another."""
        return AnswerStyle(spelling=self._spelling)

    def style(self, request: ChatRequest, template: str | None, prompt_end: str) -> AnswerStyle:
        """How the answer to a conversation is read, whose prompt ends so."""
        hides_thinking = request.think is False
        if template and abilities.is_harmony(template):
            syntax = self._tool_syntax(request, template)
            return AnswerStyle(
                is_harmony=True,
                hides_thinking=hides_thinking,
                tool_syntax=syntax,
                ends_with_call=request.one_call,
                spelling=self._spelling,
            )
        start, end = self.thinking_marks(template)
        return AnswerStyle(
            think_start=start,
            think_end=end,
            begins_thinking=bool(start) and prompt_end.rstrip().endswith(start),
            hides_thinking=hides_thinking,
            tool_syntax=self._tool_syntax(request, template),
            ends_with_call=request.one_call,
            left_out=tuple(self._tokenizer.structural_markers),
            spelling=self._spelling,
        )

    def thinking_marks(self, template: str | None) -> tuple[str, str]:
        """What opens and what closes thinking: tokens of its own, else words that the template knows."""
        if template and abilities.is_harmony(template):
            return "", ""
        if self._tokenizer.has_thinking:
            return self._tokenizer.think_start, self._tokenizer.think_end
        known = (marks for marks in abilities.THINKING_MARKS if template and any(mark in template for mark in marks))
        return next(known, ("", ""))

    def _can_call(self, template: str | None) -> bool:
        if template is None:
            return bool(self._tokenizer.has_tool_calling)
        return abilities.calls_tools(template) or (
            "tools" in template and template == self._own_template and bool(self._tokenizer.has_tool_calling)
        )

    def _tool_syntax(self, request: ChatRequest, template: str | None) -> ToolSyntax | None:
        if not offers_tools(request):
            return None
        if template and abilities.is_harmony(template):
            return ToolSyntax("", "", _never, request.tools)
        if template is None or template == self._own_template:
            tokenizer = self._tokenizer
            if not tokenizer.has_tool_calling:
                return None
            return ToolSyntax(tokenizer.tool_call_start, tokenizer.tool_call_end, tokenizer.tool_parser, request.tools)
        kind = tokenizer_utils._infer_tool_parser(_Template(template, self._tokenizer))
        if kind is None:
            return None
        parser: Any = importlib.import_module(f"mlx_lm.tool_parsers.{kind}")
        return ToolSyntax(parser.tool_call_start, parser.tool_call_end, parser.parse_tool_call, request.tools)


def offers_tools(request: ChatRequest) -> bool:
    """Whether the model may call any tools."""
    return bool(request.tools) and request.tool_choice != "none"


def _never(text: str, tools: Any) -> Any:
    raise ValueError("channels name the tool in their header")
