"""An item while the model still writes it, and the events that tell of it; they are numbered later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from paddock.api.openai.responses.events import (
    ArgumentsEvent,
    DeltaEvent,
    Event,
    InItem,
    ItemEvent,
    PartEvent,
    TextEvent,
)
from paddock.api.openai.responses.items import (
    FunctionCall,
    Item,
    Logprob,
    Message,
    OutputText,
    Reasoning,
    ReasoningText,
    Status,
    SummaryText,
)
from paddock.api.openai.responses.thoughts import sealed


@dataclass
class Growing(ABC):
    """An item of one part, which is a text."""

    id: str
    index: int
    """Its place in the output."""
    encrypts: bool = False
    """Whether thinking is told in coded form as well."""
    _texts: list[str] = field(default_factory=list)

    prefix: ClassVar[str]
    """How ids of such items begin."""
    part_name: ClassVar[str] = "content_part"
    text_name: ClassVar[str]
    """What events call the part, and its text."""
    index_name: ClassVar[str] = "content_index"

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self._texts)

    def begin(self) -> list[Event]:
        """The item, and its part, are there."""
        added = ItemEvent(
            type="response.output_item.added", output_index=self.index, item=self._item("in_progress", is_empty=True)
        )
        return [added, self._event(PartEvent, f"{self.part_name}.added", part=self._part())]

    def grow(self, text: str, logprobs: tuple[Logprob, ...] = ()) -> list[Event]:
        """Some more of it. Only messages have likelihoods."""
        self._texts.append(text)
        return [self._event(DeltaEvent, f"{self.text_name}.delta", delta=text)]

    def end(self, status: Status) -> tuple[Item, list[Event]]:
        """The whole item, and that its text, its part and itself are done."""
        item = self._item(status)
        return item, [
            self._text_done(),
            self._event(PartEvent, f"{self.part_name}.done", part=self._part()),
            ItemEvent(type="response.output_item.done", output_index=self.index, item=item),
        ]

    def _text_done(self) -> Event:
        return self._event(TextEvent, f"{self.text_name}.done", text=self.text)

    def _event(self, kind: type[InItem], name: str, **fields: Any) -> Event:
        place = {"item_id": self.id, "output_index": self.index, self.index_name: 0}
        return kind(type=f"response.{name}", **place, **fields)  # type: ignore[arg-type]

    @abstractmethod
    def _part(self) -> OutputText | ReasoningText | SummaryText:
        """The part so far."""

    @abstractmethod
    def _item(self, status: Status, *, is_empty: bool = False) -> Item:
        """The item, with its part or without."""


@dataclass
class GrowingMessage(Growing):
    """What the model says."""

    _logprobs: list[Logprob] = field(default_factory=list)

    prefix: ClassVar[str] = "msg_"
    text_name: ClassVar[str] = "output_text"

    def grow(self, text: str, logprobs: tuple[Logprob, ...] = ()) -> list[Event]:
        """As `Growing.grow`."""
        self._texts.append(text)
        self._logprobs += logprobs
        return [self._event(DeltaEvent, "output_text.delta", delta=text, logprobs=logprobs)]

    def _text_done(self) -> Event:
        return self._event(TextEvent, "output_text.done", text=self.text, logprobs=tuple(self._logprobs))

    def _part(self) -> OutputText:
        return OutputText(text=self.text, logprobs=tuple(self._logprobs))

    def _item(self, status: Status, *, is_empty: bool = False) -> Item:
        return Message(id=self.id, role="assistant", content=() if is_empty else (self._part(),), status=status)


@dataclass
class GrowingReasoning(Growing):
    """What the model thinks, as it is."""

    prefix: ClassVar[str] = "rs_"
    text_name: ClassVar[str] = "reasoning_text"

    def _part(self) -> ReasoningText:
        return ReasoningText(text=self.text)

    def _item(self, status: Status, *, is_empty: bool = False) -> Item:
        if is_empty:
            return Reasoning(id=self.id, status=status)
        coded = sealed(self.text) if self.encrypts else None
        return Reasoning(id=self.id, content=(self._part(),), encrypted_content=coded, status=status)


@dataclass
class GrowingSummary(Growing):
    """What the model thinks, told as its own summary."""

    prefix: ClassVar[str] = "rs_"
    part_name: ClassVar[str] = "reasoning_summary_part"
    text_name: ClassVar[str] = "reasoning_summary_text"
    index_name: ClassVar[str] = "summary_index"

    def _part(self) -> SummaryText:
        return SummaryText(text=self.text)

    def _item(self, status: Status, *, is_empty: bool = False) -> Item:
        if is_empty:
            return Reasoning(id=self.id, status=status)
        coded = sealed(self.text) if self.encrypts else None
        return Reasoning(id=self.id, summary=(self._part(),), encrypted_content=coded, status=status)


def call_events(call: FunctionCall, index: int) -> list[Event]:
    """A call comes whole: its arguments are one delta."""
    begun = FunctionCall(id=call.id, call_id=call.call_id, name=call.name, arguments="", status="in_progress")
    name = "response.function_call_arguments"
    return [
        ItemEvent(type="response.output_item.added", output_index=index, item=begun),
        DeltaEvent(type=f"{name}.delta", item_id=call.id, output_index=index, delta=call.arguments),
        ArgumentsEvent(
            type=f"{name}.done", item_id=call.id, output_index=index, name=call.name, arguments=call.arguments
        ),
        ItemEvent(type="response.output_item.done", output_index=index, item=call),
    ]
