"""What choosing a token needs beside the logits, whoever computes it: options, the window of penalties, draws.

The order is Ollama's: logit_bias and constraints -> penalties -> top_k -> typical_p -> temperature -> top_p -> min_p ->
draw. A token that was drawn without a constraint stands if the constraint permits it; otherwise a second one is drawn
among those that it allows. Without a temperature, or without top_k, top_p, min_p and typical_p, that is the same as one
draw among those; with them the answer stays nearer to what the model wants to say.

Candidates are ordered by likelihood, equal ones by id. A draw is the inverse of their cumulative distribution at a
number that is made of the request's seed and a counter alone, so a seed gives the same text whatever else runs.
"""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from paddock.errors import InvalidOption
from paddock.protocol import Sampling

GREEDY_BELOW = 1e-6
"""Temperatures below this are greedy: dividing by them would only overflow."""
MOST_TOP_LOGPROBS = 20
_MASK_64 = (1 << 64) - 1
_APART = 1 << 63
"""Makes another seed of one that was drawn, which has 63 bits."""
_AGAIN = 1 << 62
_UNIFORM_BITS = 24
"""As many as single precision holds exactly: every device divides the same draws."""

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bits = npt.NDArray[np.uint32]
"""A bit for each token, 32 to a word, the lowest first; set where the token is allowed."""


def check(sampling: Sampling, vocabulary: int | None = None) -> None:
    """InvalidOption for what has no meaning. `vocabulary` is how many token ids there are, if that is known."""
    if not sampling.repeat_penalty > 0:
        raise InvalidOption("repeat_penalty must be greater than 0.")
    if any(not stop for stop in sampling.stop):
        raise InvalidOption("stop must not contain an empty string.")
    if not 0 <= sampling.top_logprobs <= MOST_TOP_LOGPROBS:
        raise InvalidOption(f"top_logprobs must be between 0 and {MOST_TOP_LOGPROBS}.")
    for token, bias in sampling.logit_bias.items():
        if token < 0 or (vocabulary is not None and token >= vocabulary):
            known = "" if vocabulary is None else f": this model's vocabulary has {vocabulary} tokens"
            raise InvalidOption(f"logit_bias names token id {token}, which does not exist{known}.")
        if not abs(bias) < float("inf"):
            raise InvalidOption("logit_bias must hold finite numbers.")


def uniform(seed: int, draw: int) -> float:
    """A number from 0 up to and without 1 that is independent for each draw (SplitMix64: Steele, Lea, Flood 2014)."""
    state = (seed + (draw + 1) * 0x9E3779B97F4A7C15) & _MASK_64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK_64
    bits: int = state ^ (state >> 31)
    return (bits >> (64 - _UNIFORM_BITS)) / float(1 << _UNIFORM_BITS)


class Window:
    """The last tokens of a sequence, prompt included, and how often each is among them."""

    def __init__(self, tokens: Sequence[int], size: int) -> None:
        self._size = size
        self._tokens: deque[int] = deque(tokens[-size:] if size else ())
        self._counts = Counter(self._tokens)

    def add(self, token: int) -> None:
        """One more; the oldest goes if there are too many."""
        if not self._size:
            return
        self._tokens.append(token)
        self._counts[token] += 1
        if len(self._tokens) > self._size:
            oldest = self._tokens.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]

    def counts(self) -> tuple[Ints, Floats]:
        """Ids, each once, and how often each occurs."""
        size = len(self._counts)
        ids = np.fromiter(self._counts.keys(), np.int64, size)
        return ids, np.fromiter(self._counts.values(), np.float32, size)

    def last(self, count: int) -> list[int]:
        """The newest of them, at most so many, oldest first."""
        return list(self._tokens)[max(0, len(self._tokens) - count) :]

    @property
    def size(self) -> int:
        """Most tokens that it holds; 0 without penalties."""
        return self._size


class Chooser:
    """How the tokens of one sequence are chosen: its options, its draws so far, and the tokens that it knows."""

    def __init__(
        self, sampling: Sampling, prompt: Sequence[int], context_length: int, *, is_constrained: bool = False
    ) -> None:
        self._is_constrained = is_constrained
        self.sampling = sampling
        self.seed = sampling.seed if sampling.seed >= 0 else secrets.randbits(63)
        size = context_length if sampling.repeat_last_n < 0 else sampling.repeat_last_n
        self.window = Window(prompt, size if _has_penalties(sampling) else 0)
        self._draws = 0

    @property
    def is_simple(self) -> bool:
        """Whether it is the likeliest token of the model's own logits, and nobody asks how likely it was."""
        sampling = self.sampling
        is_greedy = sampling.temperature <= GREEDY_BELOW and not sampling.logit_bias
        return is_greedy and not self.window.size and not self._is_constrained and not sampling.logprobs

    @property
    def is_seeded(self) -> bool:
        """Whether the same text has to come again."""
        return self.sampling.seed >= 0

    def draw_ahead(self, places: int) -> float:
        """A number to foresee the token with that comes so many places after the next one: with a seed the one that it
        will be drawn with, else one that nothing else is drawn with."""
        return uniform(self.seed if self.is_seeded else self.seed ^ _APART, self._draws + places)

    def draw(self) -> float:
        """The number that the next token is drawn with; none comes twice."""
        self._draws += 1
        return uniform(self.seed, self._draws - 1)

    def draw_again(self) -> float:
        """The number that another token is drawn with in place of the one before, which was refused."""
        return uniform(self.seed ^ _AGAIN, self._draws - 1)


def _has_penalties(sampling: Sampling) -> bool:
    return sampling.repeat_penalty != 1 or sampling.presence_penalty != 0 or sampling.frequency_penalty != 0


@dataclass(frozen=True)
class Options:
    """The options of several sequences, each an array of shape (sequences, 1)."""

    temperature: Floats
    top_k: Ints
    """0 for all."""
    top_p: Floats
    min_p: Floats
    typical_p: Floats

    @classmethod
    def of(cls, samplings: Sequence[Sampling]) -> Options:
        """Put them together."""

        def column(values: list[float]) -> Floats:
            return np.array(values, dtype=np.float32)[:, None]

        return cls(
            temperature=column([each.temperature for each in samplings]),
            top_k=np.array([max(0, each.top_k) for each in samplings], dtype=np.int64)[:, None],
            top_p=column([each.top_p for each in samplings]),
            min_p=column([min(each.min_p, 1.0) for each in samplings]),
            typical_p=column([each.typical_p if 0 < each.typical_p < 1 else 1.0 for each in samplings]),
        )

    def __getitem__(self, rows: Ints) -> Options:
        return Options(
            self.temperature[rows], self.top_k[rows], self.top_p[rows], self.min_p[rows], self.typical_p[rows]
        )

    # Each of these takes longer to find out than a small vocabulary takes to draw from, and a batch's stay the same.

    @cached_property
    def is_greedy(self) -> npt.NDArray[np.bool_]:
        """Which sequences take the likeliest token; shape (sequences,)."""
        return self.temperature[:, 0] <= GREEDY_BELOW

    @cached_property
    def most_candidates(self) -> int:
        """How many of the likeliest tokens are enough for every sequence; 0 for all."""
        return int(self.top_k.max()) if self.top_k.all() else 0

    @cached_property
    def has_top_k(self) -> bool:
        """Whether any sequence has one; so the others."""
        return bool(self.top_k.any())

    @cached_property
    def has_typical_p(self) -> bool:
        return bool((self.typical_p < 1).any())

    @cached_property
    def has_top_p(self) -> bool:
        return bool((self.top_p < 1).any())

    @cached_property
    def has_min_p(self) -> bool:
        return bool((self.min_p > 0).any())


@dataclass(frozen=True)
class Likelihoods:
    """How likely a token was, and ids and likelihoods of the likeliest ones: natural logarithms of what the model gave,
    before anything was done to it."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()
