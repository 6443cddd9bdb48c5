"""How much of a prompt to read at once, so that those who already get their answer hardly notice. It knows no clock."""

from __future__ import annotations

READING_SHARE = 0.75
"""Of the time, while prompts are read beside answers; the other part makes tokens."""

_SHORTEST_SECONDS = 0.02
_LONGEST_SECONDS = 0.25
_SMALLEST_CHUNK = 8
"""Tokens; a prompt gets on by so many at least, whatever they cost."""
_UNKNOWN_CHUNK = 32
"""Tokens to begin with, before anything was measured."""


class Pace:
    """Learns how quickly this model reads and writes on this machine, and sizes chunks of prompts accordingly."""

    def __init__(self, num_batch: int) -> None:
        """`num_batch`: most tokens of a chunk."""
        self._num_batch = num_batch
        self._seconds_per_token = 0.0
        self._step_seconds = 0.0

    @property
    def budget_seconds(self) -> float:
        """How long prompts may be read between two tokens of an answer.

        It is what gives reading its share, within bounds: so short that no answer seems to stand still, and so long
        that a chunk is not mostly overhead. With the token in between, a gap is at most twice as long in the rule.
        """
        fair = self._step_seconds * READING_SHARE / (1 - READING_SHARE)
        return min(max(fair, _SHORTEST_SECONDS), _LONGEST_SECONDS)

    def chunk(self, seconds_left: float, *, is_first: bool = True) -> int:
        """Tokens to read at once beside answers, when so much of the budget is left; 0 if it is not worth the while.
        The first chunk of a step is never empty."""
        if self._seconds_per_token <= 0:
            return min(_UNKNOWN_CHUNK, self._num_batch)
        fitting = int((seconds_left - self._step_seconds) / self._seconds_per_token)
        return min(max(fitting, _SMALLEST_CHUNK if is_first else 0), self._num_batch)

    def has_read(self, tokens: int, seconds: float) -> None:
        """A chunk was read. A pass over the weights takes what a step takes, the rest is the tokens' own. Only the last
        chunk counts: later ones attend to more, and so cost more."""
        if tokens >= _SMALLEST_CHUNK or self._seconds_per_token <= 0:
            own_seconds = max(seconds - self._step_seconds, seconds / 10)
            self._seconds_per_token = own_seconds / tokens

    def has_stepped(self, seconds: float) -> None:
        """A token was made for each answer."""
        self._step_seconds += 0.2 * (seconds - self._step_seconds)
