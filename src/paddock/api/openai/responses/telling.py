"""The state machine between the pieces of an answer and the events of its stream. Pure: no clock, no input, no output.

response.created, response.in_progress
for each item, one after the other:
    response.output_item.added
    response.content_part.added, response.output_text.delta …, .done, response.content_part.done     a message
    the same with response.reasoning_text, or with response.reasoning_summary_part and _text         thinking
    response.function_call_arguments.delta, .done                                                    a call
    response.output_item.done
response.completed | response.incomplete | error, response.failed
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from paddock.api.chunks import Piece
from paddock.api.openai.responses.answers import Failure, Incomplete, ResponseAnswer, usage_of
from paddock.api.openai.responses.events import ErrorEvent, Event, ResponseEvent
from paddock.api.openai.responses.growing import (
    Growing,
    GrowingMessage,
    GrowingReasoning,
    GrowingSummary,
    call_events,
)
from paddock.api.openai.responses.items import FunctionCall, Item, Likely, Logprob, NewId, Status
from paddock.protocol import Done, Likelihood, TokenLogprobs, ToolCall


class Stage(enum.Enum):
    """Where a response is in its life."""

    SILENT = enum.auto()
    """Nothing was told yet: an error still has a status of its own."""
    TELLING = enum.auto()
    ENDED = enum.auto()


TRANSITIONS: Mapping[Stage, frozenset[Stage]] = {
    Stage.SILENT: frozenset({Stage.TELLING}),
    Stage.TELLING: frozenset({Stage.ENDED}),
    Stage.ENDED: frozenset(),
}


@dataclass
class Telling:
    """One response while it is answered. `response` is what has been told of it so far."""

    response: ResponseAnswer
    new_id: NewId
    summarises: bool = False
    """Whether thinking is told as its own summary."""
    encrypts: bool = False
    """Whether thinking is told in coded form as well."""
    stage: Stage = Stage.SILENT
    _output: list[Item] = field(default_factory=list)
    _open: Growing | None = None
    _next_number: int = 0

    def add(self, piece: Piece) -> list[Event]:
        """The events of some more of the answer."""
        events = self._begin()
        if piece.thinking:
            events += self._grow(GrowingSummary if self.summarises else GrowingReasoning, piece.thinking)
        if piece.text:
            events += self._grow(GrowingMessage, piece.text, piece.logprobs)
        elif piece.logprobs and not piece.thinking and isinstance(self._open, GrowingMessage):
            events += self._open.grow("", tuple(map(_logprob, piece.logprobs)))
        for call in piece.calls:
            events += self._call(call)
        return self._numbered(events)

    def end(self, done: Done, completed_at: int) -> list[Event]:
        """The events of the end; `completed_at` is a time in seconds. An answer of nothing is an empty message."""
        events = self._begin()
        is_cut = done.reason == "length"
        if not self._output and self._open is None:
            events += self._open_item(GrowingMessage)
        events += self._close("incomplete" if is_cut else "completed")
        usage = usage_of(done)
        if is_cut:
            self._become("incomplete", usage=usage, incomplete_details=Incomplete())
        else:
            self._become("completed", usage=usage, completed_at=completed_at)
        self._move(Stage.ENDED)
        return self._numbered([*events, self._told()])

    def fail(self, failure: Failure) -> list[Event]:
        """The events of an error that comes after the first event; none where the end was told already."""
        if self.stage is Stage.ENDED:
            return []
        events = [*self._begin(), *self._close("incomplete")]
        self._become("failed", error=failure)
        self._move(Stage.ENDED)
        error = ErrorEvent(type="error", code=failure.code, message=failure.message)
        return self._numbered([*events, error, self._told()])

    def _begin(self) -> list[Event]:
        if self.stage is not Stage.SILENT:
            return []
        self._move(Stage.TELLING)
        return [ResponseEvent(type=f"response.{word}", response=self.response) for word in ("created", "in_progress")]

    def _grow(self, kind: type[Growing], text: str, logprobs: tuple[TokenLogprobs, ...] = ()) -> list[Event]:
        """Some more of the open item of this kind; another kind of item ends first."""
        events = [] if type(self._open) is kind else [*self._close("completed"), *self._open_item(kind)]
        assert self._open is not None
        return [*events, *self._open.grow(text, tuple(map(_logprob, logprobs)))]

    def _open_item(self, kind: type[Growing]) -> list[Event]:
        self._open = kind(self.new_id(kind.prefix), len(self._output), self.encrypts)
        return self._open.begin()

    def _close(self, status: Status) -> list[Event]:
        if self._open is None:
            return []
        item, events = self._open.end(status)
        self._open = None
        self._output.append(item)
        return events

    def _call(self, call: ToolCall) -> list[Event]:
        events = self._close("completed")
        arguments = msgspec.json.encode(call.arguments).decode()
        item = FunctionCall(id=self.new_id("fc_"), call_id=call.id, name=call.name, arguments=arguments)
        self._output.append(item)
        return [*events, *call_events(item, len(self._output) - 1)]

    def _become(self, status: Literal["completed", "incomplete", "failed"], **changes: object) -> None:
        self.response = msgspec.structs.replace(self.response, status=status, output=tuple(self._output), **changes)

    def _told(self) -> Event:
        return ResponseEvent(type=f"response.{self.response.status}", response=self.response)

    def _move(self, stage: Stage) -> None:
        assert stage in TRANSITIONS[self.stage], f"{self.stage} does not lead to {stage}"
        self.stage = stage

    def _numbered(self, events: list[Event]) -> list[Event]:
        first, self._next_number = self._next_number, self._next_number + len(events)
        return [msgspec.structs.replace(event, sequence_number=first + place) for place, event in enumerate(events)]


def _logprob(token: TokenLogprobs) -> Logprob:
    top = tuple(map(_likely, token.top))
    return Logprob(token=token.token, bytes=token.bytes, logprob=token.logprob, top_logprobs=top)


def _likely(token: Likelihood) -> Likely:
    return Likely(token=token.token, bytes=token.bytes, logprob=token.logprob)
