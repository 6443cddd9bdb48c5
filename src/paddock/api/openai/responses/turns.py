"""Items as the turns that a chat template reads. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from paddock.api.openai.responses.items import FunctionCall, FunctionCallOutput, Item, Message, Reasoning
from paddock.api.openai.responses.thoughts import unsealed
from paddock.api.schemas import WireCall, WireFunction
from paddock.api.tools import called_tools
from paddock.errors import InvalidField
from paddock.protocol import ChatMessage

_OPENING_ROLES = ("system", "developer")


def turns_of(instructions: str | None, items: Sequence[Item]) -> tuple[ChatMessage, ...]:
    """The conversation. What opens it in the role of the system is one turn, since many templates take only one; what
    the model thought, said and called in a row is one turn as well. InvalidField for an answer to no call."""
    _check_answers(items)
    opening = [instructions] if instructions else []
    rest = list(items)
    while rest and isinstance(rest[0], Message) and rest[0].role in _OPENING_ROLES:
        opening.append(rest.pop(0).text)  # type: ignore[union-attr]
    system = (ChatMessage(role="system", content="\n\n".join(opening)),) if opening else ()
    return (*system, *_told(rest))


def _check_answers(items: Iterable[Item]) -> None:
    calls: set[str] = set()
    for item in items:
        if isinstance(item, FunctionCall):
            calls.add(item.call_id)
        elif isinstance(item, FunctionCallOutput) and item.call_id not in calls:
            name = item.call_id[:80]
            raise InvalidField(f"No tool call found for function call output with call_id {name}.", "input")


@dataclass
class _Answer:
    """A turn of the model that is being put together."""

    thoughts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    calls: list[WireCall] = field(default_factory=list)
    ends_in_text: bool = False

    def takes(self, item: Item) -> bool:
        """Whether the item belongs to this turn: a message right after another is a turn of its own."""
        return not (self.ends_in_text and isinstance(item, Message))

    def add(self, item: Message | FunctionCall | Reasoning) -> None:
        if isinstance(item, Message):
            self.texts.append(item.text)
        elif isinstance(item, FunctionCall):
            function = WireFunction(name=item.name, arguments=msgspec.json.decode(item.arguments))
            self.calls.append(WireCall(id=item.call_id, function=function))
        else:
            self.thoughts.append(_thinking(item))
        self.ends_in_text = isinstance(item, Message)

    @property
    def turns(self) -> list[ChatMessage]:
        """The turn; none where the model said nothing, and thought nothing that is told."""
        turn = ChatMessage(
            role="assistant",
            content="\n\n".join(self.texts),
            thinking="\n\n".join(filter(None, self.thoughts)),
            tool_calls=called_tools(self.calls),
        )
        return [turn] if self.texts or self.calls or turn.thinking else []


def _told(items: Iterable[Item]) -> list[ChatMessage]:
    turns: list[ChatMessage] = []
    answer: _Answer | None = None
    for item in items:
        is_answer = not isinstance(item, FunctionCallOutput) and getattr(item, "role", "assistant") == "assistant"
        if answer and not (is_answer and answer.takes(item)):
            turns += answer.turns
            answer = None
        if isinstance(item, FunctionCallOutput):
            turns.append(ChatMessage(role="tool", content=item.text, tool_call_id=item.call_id))
        elif is_answer:
            answer = answer or _Answer()
            answer.add(item)
        elif isinstance(item, Message):
            role = "system" if item.role in _OPENING_ROLES else item.role
            turns.append(ChatMessage(role=role, content=item.text))
    return [*turns, *answer.turns] if answer else turns


def _thinking(item: Reasoning) -> str:
    """As far as the item tells: in words, else coded, else as a summary."""
    if item.content:
        return "".join(part.text for part in item.content)
    if item.encrypted_content and (found := unsealed(item.encrypted_content)) is not None:
        return found
    return "\n\n".join(part.text for part in item.summary)
