"""How much of a prompt to read at once, so that those who already get their answer hardly notice. It knows no clock."""

from __future__ import annotations

READING_SHARE = 0.75
"""Of the time, while prompts are read beside answers; the other part makes tokens."""

_SHORTEST_SECONDS = 0.05
_LONGEST_SECONDS = 0.25
_SMALLEST_CHUNK = 8
"""Tokens; a prompt gets on by so many at least, or by as many as fill the budget alone, but by one in any case."""
_UNKNOWN_CHUNK = 32
"""Tokens to begin with, before anything was measured."""
_DEPTH_UNIT = 4096
"""Tokens; depths are counted in these, so that both parts of a token's cost are of about one size."""


def budget_seconds(step_seconds: float) -> float:
    """How long prompts may be read between two tokens of an answer, where a step that makes these takes so long.

    It is what gives reading its share, within bounds: so short that no answer seems to stand still, and so long that a
    chunk is not mostly overhead. With the token in between, a gap is at most twice as long in the rule.
    """
    fair = step_seconds * READING_SHARE / (1 - READING_SHARE)
    return min(max(fair, _SHORTEST_SECONDS), _LONGEST_SECONDS)


class Pace:
    """Learns how quickly this model reads and writes on this machine, and sizes chunks of prompts accordingly."""

    def __init__(self, num_batch: int) -> None:
        """`num_batch`: most tokens of a chunk."""
        self._num_batch = num_batch
        self._base_seconds = 0.0
        self._depth_seconds = 0.0
        self._step_seconds = 0.0

    @property
    def budget_seconds(self) -> float:
        """How long prompts may be read between two tokens of an answer."""
        return budget_seconds(self._step_seconds)

    def chunk(self, seconds_left: float, depth: int, *, is_first: bool = True) -> int:
        """Tokens to read at once beside answers, behind `depth` others, when so much of the budget is left; 0 if it is
        not worth the while. The first chunk of a step is never empty."""
        cost_seconds = self._cost_seconds(depth)
        if cost_seconds <= 0:
            return min(_UNKNOWN_CHUNK, self._num_batch)
        fitting = int((seconds_left - self._step_seconds) / cost_seconds)
        smallest = max(1, min(_SMALLEST_CHUNK, int(seconds_left / cost_seconds))) if is_first else 0
        return min(max(fitting, smallest), self._num_batch)

    def has_read(self, tokens: int, depth: int, seconds: float) -> None:
        """A chunk was read behind `depth` tokens. A pass over the weights takes what a step takes, the rest is the
        tokens' own.

        What a token costs is a line over its depth, since it attends to all before it. Each chunk moves the line, in
        both its parts, onto what was measured (normalised least mean squares; Widrow and Hoff 1960), and a very small
        chunk, which is mostly overhead, moves it part of the way.
        """
        depth += tokens // 2
        own_seconds = max(seconds - self._step_seconds, seconds / 10) / tokens
        scaled = depth / _DEPTH_UNIT
        share = min(1.0, tokens / _SMALLEST_CHUNK) if self._base_seconds > 0 else 1.0
        move = share * (own_seconds - self._cost_seconds(depth)) / (1 + scaled * scaled)
        self._base_seconds = max(self._base_seconds + move, 0.0)
        self._depth_seconds = max(self._depth_seconds + move * scaled, 0.0)

    def _cost_seconds(self, depth: int) -> float:
        return self._base_seconds + self._depth_seconds * depth / _DEPTH_UNIT

    def has_stepped(self, seconds: float) -> None:
        """A token was made for each answer."""
        self._step_seconds += 0.2 * (seconds - self._step_seconds)
