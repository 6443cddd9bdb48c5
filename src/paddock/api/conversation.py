"""A client's turns among those that the model brings along. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from paddock.protocol import ChatMessage
from paddock.store.library import StoredModel


def conversation(model: StoredModel, turns: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """The model's own opening messages, then the client's; its SYSTEM only where the client brings none."""
    system = (ChatMessage(role="system", content=model.system),) if model.system else ()
    return (*(system if turns[0].role != "system" else ()), *opening(model), *turns)


def opening(model: StoredModel) -> tuple[ChatMessage, ...]:
    """The turns that the model's maker put before every conversation."""
    return tuple(ChatMessage(role=message["role"], content=message["content"]) for message in model.messages)
