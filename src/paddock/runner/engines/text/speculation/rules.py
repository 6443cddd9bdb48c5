"""Whether a foreseen token stands, and what foreseeing promises to bring. Pure: numbers in, numbers out."""

from __future__ import annotations

import numpy as np

from paddock.runner.engines.text.sampling.host import NOTHING
from paddock.runner.engines.text.sampling.options import Floats


def judged(wanted: Floats, foreseen: Floats, token: int, accept_draw: float, other_draw: float) -> int:
    """The token that comes: the foreseen one, or another in its place; then its probability is exactly `wanted`'s.

    `wanted` and `foreseen` (vocabulary,) are the two models' probabilities, and `token` was drawn from the latter. It
    stands with the probability min(1, wanted / foreseen); in place of one that falls comes a draw from what is left
    of `wanted` beyond `foreseen` (Leviathan, Kalman, Matias 2023). The draws are independent numbers from 0 up to and
    without 1. NOTHING where `wanted` holds no numbers.
    """
    if not np.isfinite(wanted).all():
        return NOTHING
    if accept_draw * foreseen[token] < wanted[token]:
        return token
    left = np.maximum(wanted - foreseen, 0)
    # Equal but for rounding: then nothing is left, and any draw from `wanted` is right.
    return drawn(left if left.any() else wanted, other_draw)


def drawn(weights: Floats, draw: float) -> int:
    """The place in `weights` (any,) at which their sum first exceeds the draw's share of the whole."""
    reached = weights.cumsum()
    return int(np.argmax(reached > draw * reached[-1]))


def expected_tokens(acceptance: float, depth: int) -> float:
    """Tokens that a pass brings on average, its own one included, when each of `depth` foreseen ones stands with this
    probability once those before it did: 1 + a + a^2 + ... + a^depth."""
    return sum(acceptance**place for place in range(depth + 1))
