"""Whether a model thinks before it answers, and how much of that is asked for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from paddock.api.anthropic.schemas import ConversationBody, MessagesBody, ThinkingWish
from paddock.api.refusals import Think
from paddock.errors import InvalidField, Unsupported
from paddock.store.library import StoredModel

LEAST_BUDGET_TOKENS = 1024

_EFFORTS: Mapping[str, Literal["low", "medium", "high"]] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


@dataclass(frozen=True)
class Thought:
    """In the words of `protocol.ChatRequest`."""

    think: Think = False
    budget_tokens: int = 0

    @property
    def may_think(self) -> bool:
        """Whether it may come to thinking at all."""
        return self.think is not False


def thought_of(body: ConversationBody, model: StoredModel) -> Thought:
    """What a body asks for: nothing said is no thinking, as with Anthropic. InvalidField; Unsupported for a model that
    cannot think."""
    wish = body.thinking or ThinkingWish(type="disabled")
    effort = _effort(body)
    if wish.display not in (None, "summarized", "omitted"):
        raise InvalidField('The display of "thinking" must be "summarized" or "omitted".', "thinking")
    if wish.type == "disabled":
        return Thought()
    can_think = "thinking" in model.facts.capabilities
    if wish.type == "adaptive":
        return Thought(effort or True) if can_think else Thought()
    if wish.type != "enabled":
        raise InvalidField('The type of "thinking" must be "enabled", "disabled" or "adaptive".', "thinking")
    if not can_think:
        raise Unsupported(f'"{model.name.display}" does not support thinking: leave it out, or let it be "adaptive".')
    return Thought(effort or True, _budget(wish, body))


def _effort(body: ConversationBody) -> Think:
    given = body.output_config.effort if body.output_config else None
    if given is None:
        return None
    if given not in _EFFORTS:
        raise InvalidField(f'"output_config.effort" must be one of {", ".join(_EFFORTS)}.', "output_config")
    return _EFFORTS[given]


def _budget(wish: ThinkingWish, body: ConversationBody) -> int:
    if wish.budget_tokens is None or wish.budget_tokens < LEAST_BUDGET_TOKENS:
        raise InvalidField(f'"thinking.budget_tokens" must be at least {LEAST_BUDGET_TOKENS}.', "thinking")
    if isinstance(body, MessagesBody) and wish.budget_tokens >= (body.max_tokens or 0):
        raise InvalidField('"max_tokens" must be greater than "thinking.budget_tokens".', "max_tokens")
    return wish.budget_tokens
