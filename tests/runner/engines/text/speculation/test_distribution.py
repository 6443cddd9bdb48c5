"""What a draft foresees does not change how likely tokens are: exact where that can be worked out, else chi-square.

The models here are tables of what follows each of four tokens, so that thousands of texts take a second.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence as Items

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache

from paddock.protocol import Done, Sampling
from paddock.runner.engines.base import Prompt
from paddock.runner.engines.text.decoding import Decoder
from paddock.runner.engines.text.group import Group
from paddock.runner.engines.text.sampling.host import NOTHING
from paddock.runner.engines.text.sequence import Sequence, SequenceLimits
from paddock.runner.engines.text.speculation.draft import Draft
from paddock.runner.engines.text.speculation.policy import Policy
from paddock.runner.engines.text.speculation.rules import drawn, judged
from paddock.runner.engines.text.speculation.speculator import Speculator

VOCABULARY = 4
LENGTH = 3


class Table(nn.Module):
    """Logits of what follows a token, whatever came before it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.layers = [None]
        self.logits = np.random.default_rng(seed).normal(size=(VOCABULARY, VOCABULARY)).astype(np.float32)

    def __call__(self, tokens: mx.array, cache: list) -> mx.array:
        cache[0].offset += tokens.shape[1]
        return mx.array(self.logits)[tokens]

    def probabilities(self, temperature: float) -> np.ndarray:
        weights = np.exp(self.logits.astype(np.float64) / temperature)
        return weights / weights.sum(axis=1, keepdims=True)


class Deep(Policy):
    """Always foresees two tokens."""

    def depth(self, most: int) -> int:
        return min(2, most)

    @property
    def is_plain_due(self) -> bool:
        return not self._plain


class Clock:
    """Passes of the two models take so long, and nothing else does."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Timed(Table):
    """A table that takes its time for each pass, and for each further token of it."""

    def __init__(self, seed: int, clock: Clock, seconds: float, further_seconds: float = 0.0) -> None:
        super().__init__(seed)
        self._clock, self._seconds, self._further_seconds = clock, seconds, further_seconds
        self.passes = 0

    def __call__(self, tokens: mx.array, cache: list) -> mx.array:
        self.passes += 1
        self._clock.now += self._seconds + (tokens.shape[1] - 1) * self._further_seconds
        return super().__call__(tokens, cache)


def decode(tokens: Items[int]) -> str:
    return "".join("abcd"[token] for token in tokens)


def text(decoder: Decoder, model: Table, sampling: Sampling) -> tuple[int, ...]:
    """The tokens of one answer to the prompt 0."""
    limits = SequenceLimits(64, 16, frozenset())
    sequence = Sequence(0, decode, Prompt(tokens=(0,), sampling=sampling), limits)
    sequence.begin(make_prompt_cache(model), 0, ())
    logits = model(mx.array([[0]]), cache=sequence.caches)[:, -1, :]
    sequence.has_read(1)
    sequence.decodes()
    decoder.join([sequence], Group(sequence.caches, [sequence.length]), logits)
    tokens, frames = [], []
    while not sequence.is_finished:
        for produced in decoder.step():
            tokens.append(produced.token)
            frames += sequence.add(produced.token, None)
    assert isinstance(frames[-1], Done)
    assert not len(decoder)
    return tuple(tokens)


@pytest.mark.parametrize("draft_seed", [1, 2], ids=["the same model", "another model"])
def test_texts_are_as_likely_as_the_model_alone_makes_them(draft_seed):
    model, temperature, texts = Table(1), 0.9, 1500
    speculator = Speculator(Draft(Table(draft_seed), VOCABULARY), Deep())
    decoder = Decoder(model, VOCABULARY, merges=False, on_device=False, speculator=speculator)
    sampling = Sampling(temperature=temperature, top_k=0, top_p=1.0, num_predict=LENGTH)

    found = Counter(text(decoder, model, sampling) for _ in range(texts))

    follows = model.probabilities(temperature)
    expected = {
        (a, b, c): texts * follows[0, a] * follows[a, b] * follows[b, c]
        for a, b, c in itertools.product(range(VOCABULARY), repeat=3)
    }
    assert found.keys() <= expected.keys()
    assert chi_square(found, expected) < chi_square_bound(len(expected) - 1)


def chi_square(found: Counter, expected: dict) -> float:
    return sum((found[kind] - count) ** 2 / count for kind, count in expected.items())


def chi_square_bound(freedom: int) -> float:
    """What one right sample of 100,000 exceeds (Wilson and Hilferty's approximation, 4.26 standard deviations)."""
    return freedom * (1 - 2 / (9 * freedom) + 4.26 * np.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize("draft_seed", [1, 2])
def test_a_seed_gives_the_text_that_it_gives_without_a_draft(draft_seed):
    model = Table(1)
    speculator = Speculator(Draft(Table(draft_seed), VOCABULARY), Deep())
    with_draft = Decoder(model, VOCABULARY, merges=False, on_device=False, speculator=speculator)
    alone = Decoder(model, VOCABULARY, merges=False, on_device=False)

    for seed in range(100):
        sampling = Sampling(temperature=1.1, top_k=3, seed=seed, num_predict=9)
        assert text(with_draft, model, sampling) == text(alone, model, sampling)


# ---- when it pays ----

SLOW = Sampling(temperature=0.0, num_predict=59)
"""Leaves nothing of a context of 64."""


def answered(draft_seed: int, draft_seconds: float, texts: int) -> tuple[Timed, Policy, float]:
    """The model, what was learned, and the seconds of a token, after so many answers with such a draft."""
    clock, policy = Clock(), Policy()
    model, draft = Timed(1, clock, 0.010, 0.0005), Timed(draft_seed, clock, draft_seconds)
    speculator = Speculator(Draft(draft, VOCABULARY), policy, clock)
    decoder = Decoder(model, VOCABULARY, merges=False, on_device=False, speculator=speculator)
    tokens = sum(len(text(decoder, model, SLOW)) for _ in range(texts))
    return model, policy, clock.now / tokens


def test_a_quick_draft_that_is_right_makes_the_model_several_times_quicker():
    model, policy, seconds = answered(1, 0.0005, texts=4)

    assert not policy.is_resting
    assert policy.acceptance > 0.99
    assert model.passes < 4 * 59 / 3
    assert seconds < 0.010 / 3


@pytest.mark.parametrize(("draft_seed", "draft_seconds"), [(4, 0.001), (1, 0.012)], ids=["wrong", "slow"])
def test_a_draft_that_does_not_pay_soon_costs_nearly_nothing(draft_seed, draft_seconds):
    _, policy, seconds = answered(draft_seed, draft_seconds, texts=12)

    assert seconds < 0.010 * 1.15
    assert policy.is_resting


# ---- the rule alone, exactly ----

RNG = np.random.default_rng(11)
PAIRS = [
    (np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.1, 0.1, 0.1, 0.7])),
    (np.array([0.25, 0.25, 0.25, 0.25]), np.array([0.25, 0.25, 0.25, 0.25])),
    (np.array([0.0, 0.0, 1.0, 0.0]), np.array([0.4, 0.6, 0.0, 0.0])),
    *((RNG.dirichlet(np.ones(6)), RNG.dirichlet(np.full(6, 0.5))) for _ in range(5)),
]


@pytest.mark.parametrize(("wanted", "foreseen"), PAIRS)
def test_what_the_rule_lets_through_has_exactly_the_wanted_probabilities(wanted, foreseen):
    """Summed over a grid of both draws: within its spacing of what is wanted."""
    grid = (np.arange(60) + 0.5) / 60
    found = np.zeros(wanted.size)
    for token in np.flatnonzero(foreseen):
        for accept_draw, other_draw in itertools.product(grid, grid):
            came = judged(wanted, foreseen, int(token), accept_draw, other_draw)
            found[came] += foreseen[token] / grid.size**2

    assert found == pytest.approx(wanted, abs=2 / grid.size)


@pytest.mark.parametrize(("wanted", "foreseen"), PAIRS)
def test_a_foreseen_token_stands_as_often_as_the_two_agree(wanted, foreseen):
    grid = (np.arange(2000) + 0.5) / 2000
    stands = sum(
        probability * np.mean(grid * probability < wanted[token]) for token, probability in enumerate(foreseen)
    )

    assert stands == pytest.approx(np.minimum(wanted, foreseen).sum(), abs=1e-3)


def test_where_there_are_no_numbers_nothing_comes():
    assert judged(np.full(4, np.nan), np.full(4, 0.25), 1, 0.5, 0.5) == NOTHING


def test_a_draw_takes_the_first_place_that_exceeds_it():
    weights = np.array([1.0, 0.0, 2.0, 1.0])

    assert [drawn(weights, draw) for draw in (0.0, 0.24, 0.25, 0.74, 0.75, 0.999)] == [0, 0, 2, 2, 3, 3]
