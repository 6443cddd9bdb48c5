"""The typed events of a stream, as /v1/responses writes them."""

from __future__ import annotations

import msgspec

from paddock.api.openai.responses.answers import ResponseAnswer
from paddock.api.openai.responses.items import Item, Logprob, OutputText, ReasoningText, SummaryText, Told

Index = int | msgspec.UnsetType


class Event(Told, kw_only=True, frozen=True):
    """What every event has: its name, and its place in the stream, counted from 0."""

    type: str
    sequence_number: int = 0


class ResponseEvent(Event, kw_only=True, frozen=True):
    """The response was created, is in progress, or has ended in one of three ways."""

    response: ResponseAnswer


class ItemEvent(Event, kw_only=True, frozen=True):
    """An item was added, or is done."""

    output_index: int
    item: Item


class InItem(Event, kw_only=True, frozen=True):
    """Something happened within an item: to its content, to its summary, or (a call has no parts) to itself."""

    item_id: str
    output_index: int
    content_index: Index = msgspec.UNSET
    summary_index: Index = msgspec.UNSET


class PartEvent(InItem, kw_only=True, frozen=True):
    """A part was added, or is done."""

    part: OutputText | ReasoningText | SummaryText


class DeltaEvent(InItem, kw_only=True, frozen=True):
    """Some more of a text, or of the arguments of a call; only messages tell likelihoods."""

    delta: str
    logprobs: tuple[Logprob, ...] | msgspec.UnsetType = msgspec.UNSET


class TextEvent(InItem, kw_only=True, frozen=True):
    """The whole of a text."""

    text: str
    logprobs: tuple[Logprob, ...] | msgspec.UnsetType = msgspec.UNSET


class ArgumentsEvent(InItem, kw_only=True, frozen=True):
    """All arguments of a call."""

    name: str
    arguments: str


class ErrorEvent(Event, kw_only=True, frozen=True):
    """The stream ends in an error; the failed response follows it."""

    code: str
    message: str
    param: str | None = None
