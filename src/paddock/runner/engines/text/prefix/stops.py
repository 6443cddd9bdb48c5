"""Where reading a prompt should pause so that a checkpoint can be taken. Pure: positions in, positions out."""

from __future__ import annotations

from collections.abc import Iterable

TAIL_TOKENS = 8
"""Chat templates write the end of a prompt anew in the next turn: a checkpoint before it still fits then."""

GAP_TOKENS = 32
"""Checkpoints closer together than this cost more memory than the reading that they save."""

STRIDE_TOKENS = 2048
STRIDES_PER_PROMPT = 4
"""Within a long prompt there are checkpoints at multiples of the stride, doubled until there are this few at most."""


def planned_stops(start: int, total: int, parting: int, horizon: float) -> tuple[int, ...]:
    """Ascending positions in (start, total) for a prompt of `total` tokens that is read from `start`.

    `parting`: where it parts from an earlier prompt, 0 if nowhere. `horizon`: caches of fewer tokens can be cut to any
    length, so the last position below it stands for all others there.
    """
    if horizon == float("inf"):
        return ()
    useful = (parting, total - TAIL_TOKENS, int(horizon) - 1, *_strides(start, total))
    chosen = _apart(position for position in useful if start + GAP_TOKENS <= position < total)
    below = [position for position in chosen if position < horizon]
    return (*below[-1:], *chosen[len(below) :])


def _strides(start: int, total: int) -> range:
    stride = STRIDE_TOKENS
    while (total - 1) // stride - start // stride > STRIDES_PER_PROMPT:
        stride *= 2
    return range((start // stride + 1) * stride, total, stride)


def _apart(positions: Iterable[int]) -> list[int]:
    """Those that keep a gap from all that came before them, which matter more; ascending."""
    chosen: list[int] = []
    for position in positions:
        if all(abs(position - other) >= GAP_TOKENS for other in chosen):
            chosen.append(position)
    return sorted(chosen)
