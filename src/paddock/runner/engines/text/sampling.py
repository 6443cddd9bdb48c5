"""How the next token is chosen from logits, in Ollama's order, as MLX graphs that the host never waits for.

penalties -> top_k -> typical_p -> temperature -> top_p -> min_p -> draw. Every draw has a key of its own, made of
the request's seed and a counter: the same request gives the same text whatever else runs.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import mlx.core as mx

from paddock.errors import InvalidOption
from paddock.protocol import Sampling

_GREEDY_BELOW = 1e-6
"""Temperatures below this are greedy: dividing by them would only overflow."""
_MASK_64 = (1 << 64) - 1


def check(sampling: Sampling) -> None:
    """InvalidOption for what has no meaning."""
    if not sampling.repeat_penalty > 0:
        raise InvalidOption("repeat_penalty must be greater than 0.")
    if any(not stop for stop in sampling.stop):
        raise InvalidOption("stop must not contain an empty string.")


class Sampler:
    """Chooses the tokens of one sequence."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], context_length: int) -> None:
        self._sampling = sampling
        self._seed = sampling.seed if sampling.seed >= 0 else secrets.randbits(63)
        self._draws = 0
        window = context_length if sampling.repeat_last_n < 0 else sampling.repeat_last_n
        self._window = window if _has_penalties(sampling) else 0
        self._recent = mx.array(list(prompt[-self._window :]) if self._window else [], dtype=mx.int32)

    def choose(self, logits: mx.array) -> mx.array:
        """The next token, int32 of shape (1,), for logits of shape (vocabulary,); the token counts as recent then."""
        logits = logits.astype(mx.float32)
        if self._window:
            logits = penalised(logits, self._recent, self._sampling)
        token = self._draw(logits).astype(mx.int32).reshape(1)
        self._draws += 1
        if self._window:
            self._recent = mx.concatenate([self._recent, token])[-self._window :]
        return token

    def _draw(self, logits: mx.array) -> mx.array:
        if self._sampling.temperature <= _GREEDY_BELOW:
            return mx.argmax(logits)
        kept, ids = candidates(logits, self._sampling)
        key = mx.random.key(draw_seed(self._seed, self._draws))
        return ids[mx.random.categorical(kept, key=key)]


def _has_penalties(sampling: Sampling) -> bool:
    return sampling.repeat_penalty != 1 or sampling.presence_penalty != 0 or sampling.frequency_penalty != 0


def draw_seed(seed: int, draw: int) -> int:
    """64 bits that are independent for each draw (SplitMix64: Steele, Lea, Flood 2014)."""
    state = (seed + (draw + 1) * 0x9E3779B97F4A7C15) & _MASK_64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK_64
    return state ^ (state >> 31)


def penalised(logits: mx.array, recent: mx.array, sampling: Sampling) -> mx.array:
    """Logits (vocabulary,) with the penalties for the `recent` tokens (any number of ids).

    The repeat penalty divides positive and multiplies negative logits; presence is subtracted once, frequency once
    per occurrence.
    """
    counts = mx.zeros_like(logits).at[recent].add(mx.ones(recent.shape, dtype=logits.dtype))
    repeat = sampling.repeat_penalty
    scaled = mx.where(logits > 0, logits / repeat, logits * repeat)
    lowered = scaled - sampling.presence_penalty - counts * sampling.frequency_penalty
    return mx.where(counts > 0, lowered, logits)


def candidates(logits: mx.array, sampling: Sampling) -> tuple[mx.array, mx.array]:
    """Logits at temperature 1 and ids of the tokens that may be drawn, likeliest first; refused ones are -inf."""
    ids = top_k_ids(logits, sampling.top_k)
    kept = logits[ids]
    if 0 < sampling.typical_p < 1:
        kept = typical(kept, sampling.typical_p)
    # The largest is subtracted before the division, which then cannot overflow.
    kept = (kept - mx.max(kept)) / sampling.temperature
    if sampling.top_p < 1:
        kept = top_p(kept, sampling.top_p)
    if sampling.min_p > 0:
        kept = min_p(kept, sampling.min_p)
    return kept, ids


def top_k_ids(logits: mx.array, k: int) -> mx.array:
    """Ids of the k largest logits, largest first; of all when k is 0 or less, or more than there are."""
    if not 0 < k < logits.size:
        return mx.argsort(-logits)
    ids = mx.argpartition(-logits, k - 1)[:k]
    return ids[mx.argsort(-logits[ids])]


def typical(kept: mx.array, mass: float) -> mx.array:
    """Keep the tokens whose surprise is nearest to the expected one, up to a mass (Meister et al. 2022)."""
    logprobs = kept - mx.logsumexp(kept)
    probabilities = mx.exp(logprobs)
    entropy = -mx.sum(mx.where(probabilities > 0, probabilities * logprobs, 0.0))
    order = mx.argsort(mx.abs(-logprobs - entropy))
    reached = _mass_before(probabilities[order]) < mass
    keep = mx.zeros(kept.shape, dtype=mx.bool_)
    keep[order] = reached
    return mx.where(keep, kept, -mx.inf)


def top_p(kept: mx.array, mass: float) -> mx.array:
    """Keep the fewest of the likeliest tokens that reach the mass, at least one. `kept` is sorted, likeliest first.

    Tokens that are -inf already have no mass, wherever they stand.
    """
    before = _mass_before(mx.softmax(kept))
    likeliest = mx.arange(kept.size) == mx.argmax(kept)
    return mx.where((before < mass) | likeliest, kept, -mx.inf)


def min_p(kept: mx.array, share: float) -> mx.array:
    """Keep the tokens that are at least `share` times as likely as the likeliest."""
    probabilities = mx.softmax(kept)
    largest = mx.max(probabilities)
    return mx.where(probabilities >= min(share, 1.0) * largest, kept, -mx.inf)


def _mass_before(probabilities: mx.array) -> mx.array:
    return mx.cumsum(probabilities) - probabilities
