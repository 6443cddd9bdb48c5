"""The items of a conversation as they are kept and told: messages, calls, what tools answered, and thinking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

NewId = Callable[[str], str]
"""A fresh id that begins with a word ("msg")."""

Status = Literal["in_progress", "completed", "incomplete"]


class Told(msgspec.Struct, kw_only=True, frozen=True):
    """Base of what is told: every field is written, whatever it holds."""


class Likely(Told, kw_only=True, frozen=True):
    """A token that might have stood at a place; `logprob` is a natural logarithm."""

    token: str
    bytes: tuple[int, ...]
    logprob: float


class Logprob(Likely, kw_only=True, frozen=True):
    """A token of the text, and the likeliest at its place."""

    top_logprobs: tuple[Likely, ...] = ()


# ---- parts ----------------------------------------------------------------------------------------------------------


class InputText(Told, kw_only=True, frozen=True, tag="input_text"):
    text: str


class OutputText(Told, kw_only=True, frozen=True, tag="output_text"):
    text: str
    annotations: tuple[()] = ()
    logprobs: tuple[Logprob, ...] = ()


class Refusal(Told, kw_only=True, frozen=True, tag="refusal"):
    refusal: str


class ReasoningText(Told, kw_only=True, frozen=True, tag="reasoning_text"):
    text: str


class SummaryText(Told, kw_only=True, frozen=True, tag="summary_text"):
    text: str


# ---- items ----------------------------------------------------------------------------------------------------------


class Message(Told, kw_only=True, frozen=True, tag="message"):
    """What somebody said."""

    id: str
    role: str
    content: tuple[InputText | OutputText | Refusal, ...]
    status: Status = "completed"

    @property
    def text(self) -> str:
        """All parts as one, each on lines of its own."""
        return "\n".join(part.refusal if isinstance(part, Refusal) else part.text for part in self.content)


class FunctionCall(Told, kw_only=True, frozen=True, tag="function_call"):
    """A call of a tool; `arguments` is a JSON object as text."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: Status = "completed"


class FunctionCallOutput(Told, kw_only=True, frozen=True, tag="function_call_output"):
    """What a tool answered."""

    id: str
    call_id: str
    output: str | tuple[InputText, ...]
    status: Status = "completed"

    @property
    def text(self) -> str:
        """The whole answer as one, its parts each on lines of its own."""
        return self.output if isinstance(self.output, str) else "\n".join(part.text for part in self.output)


class Reasoning(Told, kw_only=True, frozen=True, tag="reasoning"):
    """What the model thought: as it is, as its own summary, or coded to be sent back."""

    id: str
    content: tuple[ReasoningText, ...] = ()
    summary: tuple[SummaryText, ...] = ()
    encrypted_content: str | None = None
    status: Status = "completed"


Item = Message | FunctionCall | FunctionCallOutput | Reasoning
