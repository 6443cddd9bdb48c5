"""What a turn of a conversation is, and how it is written down: the same text that the chat template makes."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
THINK, END_THINK, TOOL_CALL, END_TOOL_CALL = "<think>", "</think>", "<tool_call>", "</tool_call>"
TOOLS, END_TOOLS = "<tools>", "</tools>"
NO_THINKING = f"{THINK}\n\n{END_THINK}\n\n"


@dataclass(frozen=True)
class Call:
    """A call of a tool, and what the tool gives back."""

    name: str
    arguments: dict[str, Any]
    result: str

    @property
    def text(self) -> str:
        """The call as the model writes it."""
        said = json.dumps({"name": self.name, "arguments": self.arguments}, ensure_ascii=False)
        return f"{TOOL_CALL}\n{said}\n{END_TOOL_CALL}"


@dataclass(frozen=True)
class Turn:
    """A question and its answer; `subject` and `name` are set when the answer is a story.

    `thought` is what may be thought before the answer. With `calls` the model first calls tools, for which `plan` is
    the thought, and answers when it has their results.
    """

    question: str
    answer: str
    subject: str | None = None
    name: str | None = None
    thought: str = ""
    calls: tuple[Call, ...] = ()
    plan: str = ""


class Mode(enum.Enum):
    """How an answer begins: as in earlier turns (bare), told not to think, or free to think, which it then does."""

    BARE = enum.auto()
    AT_ONCE = enum.auto()
    THINKING = enum.auto()


@dataclass(frozen=True)
class Piece:
    """A part of a conversation; `counts` if the model is to learn to write it, `opens` if only after its first token.

    What an answer begins with decides whether it is thought about. A bare turn, which is what earlier turns look like,
    must not teach that.
    """

    text: str
    counts: bool = False
    opens: bool = False
    story: bool = False


def prompt_text(question: str, system: str | None = None, tools: Sequence[Any] = (), mode: Mode = Mode.AT_ONCE) -> str:
    """What the chat template makes of a first question; kept equal to it by a test."""
    return system_text(system, tools) + _asked("user", question) + _answer_head(mode)


def system_text(system: str | None, tools: Sequence[Any] = ()) -> str:
    """The first message, with the schemas of the tools that there are; empty if there is neither."""
    listed = "".join(f"\n{json.dumps(tool, ensure_ascii=False)}" for tool in tools)
    parts = [system] if system else []
    parts += [f"{TOOLS}{listed}\n{END_TOOLS}"] if listed else []
    return _asked("system", "\n\n".join(parts)) if parts else ""


def called_text(turn: Turn, mode: Mode) -> str:
    """From the end of the calls of a turn to where the answer begins."""
    results = "".join(_asked("tool", call.result) for call in turn.calls)
    return f"{_calls_text(turn)}{END}\n{results}{_answer_head(mode)}"


def pieces_of(turn: Turn, modes: Iterator[Mode]) -> Iterator[Piece]:
    """A whole turn, up to the line after its answer."""
    yield Piece(_asked("user", turn.question))
    if turn.calls:
        yield from _said(_calls_text(turn), turn.plan, next(modes))
        yield from (Piece(_asked("tool", call.result)) for call in turn.calls)
    yield from _said(turn.answer, turn.thought, next(modes), story=turn.subject is not None)


def spoken(text: str) -> str:
    """What is said when the thinking is over; empty if it never ends."""
    if not text.startswith(THINK):
        return text.strip()
    return text.partition(END_THINK)[2].strip()


def calls_in(text: str) -> list[dict[str, Any]] | None:
    """The calls of an answer; None if there is anything else in it."""
    parts = [part.strip() for part in spoken(text).split(TOOL_CALL)]
    if parts[0] or not all(part.endswith(END_TOOL_CALL) for part in parts[1:]):
        return None
    try:
        return [json.loads(part.removesuffix(END_TOOL_CALL)) for part in parts[1:]]
    except ValueError:
        return None


def _said(text: str, thought: str, mode: Mode, story: bool = False) -> Iterator[Piece]:
    yield Piece(_answer_head(mode))
    thinking = f"{THINK}\n{thought}\n{END_THINK}\n\n" if mode is Mode.THINKING else ""
    yield Piece(f"{thinking}{text}{END}", counts=True, opens=mode is Mode.BARE, story=story)
    yield Piece("\n")


def _asked(role: str, content: str) -> str:
    return f"{START}{role}\n{content}{END}\n"


def _answer_head(mode: Mode) -> str:
    return f"{START}assistant\n" + (NO_THINKING if mode is Mode.AT_ONCE else "")


def _calls_text(turn: Turn) -> str:
    return "\n".join(call.text for call in turn.calls)
