"""How a model writes answers down: what thinking, calls of tools and tokens look like. It knows no model library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Spelling:
    """The bytes of each token, for tokenizers whose text is nothing but those bytes one after the other."""

    bytes_of: Callable[[int], bytes]
    drops_first_space: bool = False
    """Whether a text of its own loses the space that it begins with."""


@dataclass(frozen=True)
class ToolSyntax:
    """How a model writes the calls of tools, and which ones it was offered."""

    start: str
    end: str
    """Empty where a call ends with the answer."""
    parse: Callable[[str, Any], Any]
    """(text between the marks, the tools) -> one call or a list of them: {"name", "arguments"}, some with an "id".
    It raises all sorts of things for a text that is no call."""
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The functions that may be called."""
        return frozenset(tool["function"]["name"] for tool in self.tools)


@dataclass(frozen=True)
class AnswerStyle:
    """What an answer has to be read with. The default is text and nothing else."""

    think_start: str = ""
    think_end: str = ""
    begins_thinking: bool = False
    """Whether the prompt has opened the thinking, so that the answer begins in the middle of it."""
    hides_thinking: bool = False
    """Whether what is thought is nobody's business: it is generated and counted, but not told."""
    is_harmony: bool = False
    """Whether the answer comes in channels, each message with a header."""
    tool_syntax: ToolSyntax | None = None
    """Only where tools were offered."""
    ends_with_call: bool = False
    """Whether the answer ends with its first call."""
    left_out: tuple[str, ...] = field(default=())
    """Other marks that never reach a client."""
    spelling: Spelling | None = None
    """None where only decoding the tokens together gives their text."""

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to tell apart."""
        return not (self.think_end or self.tool_syntax or self.left_out or self.is_harmony)
