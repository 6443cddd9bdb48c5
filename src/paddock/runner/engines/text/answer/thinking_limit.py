"""Ends thinking that goes on for too long, with the marks that the model itself would write. It knows no MLX."""

from __future__ import annotations

from collections.abc import Sequence

from paddock.runner.engines.text.answer.harmony import CHANNEL, MESSAGE, START
from paddock.runner.engines.text.answer.style import AnswerStyle


def closing_of(style: AnswerStyle) -> str:
    """What stands between thinking and the answer; empty for a model that does not think."""
    return f"<|end|>{START}assistant{CHANNEL}final{MESSAGE}" if style.is_harmony else style.think_end


class ThinkingLimit:
    """How much one answer may still think. Made anywhere, then used by one thread.

    Thinking that opens again after its end, as it may after a call, has what is left of the budget.
    """

    def __init__(self, budget_tokens: int, closing: Sequence[int]) -> None:
        """`closing` are the tokens that end thinking, at least one."""
        self._left = budget_tokens
        self._closing = tuple(closing)
        self._place: int | None = None
        """Which token of the closing comes next; None while the model writes what it wants."""

    @property
    def is_near(self) -> bool:
        """Whether the token after the next one may be a forced one: nobody may choose it before the next is told."""
        return self._place is not None or self._left == 1

    @property
    def prescribed(self) -> int | None:
        """The token that has to come next; None if any may."""
        return None if self._place is None else self._closing[self._place]

    def took(self, token: int, *, is_thinking: bool) -> None:
        """One more token came, after which the model thinks or does not."""
        if self._place is not None:
            if token == self._closing[self._place]:
                self._place = self._place + 1 if self._place + 1 < len(self._closing) else None
        elif is_thinking:
            self._left = max(0, self._left - 1)
            self._place = 0 if not self._left else None
