import math
from collections import Counter

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.errors import InvalidOption
from paddock.protocol import Sampling
from paddock.runner.engines.text import sampling
from paddock.runner.engines.text.sampling import Sampler

PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0)
logit_lists = st.lists(st.integers(-80, 80).map(lambda tenth: tenth / 10), min_size=1, max_size=24)


def softmax(values: np.ndarray) -> np.ndarray:
    exponents = np.exp(values - values.max())
    return exponents / exponents.sum()


def kept_ids(logits: list[float], options: Sampling) -> set[int]:
    kept, ids = sampling.candidates(mx.array(logits), options)
    return {int(token) for token, logit in zip(ids.tolist(), kept.tolist(), strict=True) if logit > -math.inf}


def likeliest_first(logits: list[float]) -> list[int]:
    return sorted(range(len(logits)), key=lambda token: -logits[token])


@given(logit_lists, st.integers(-2, 40))
@settings(deadline=None)
def test_top_k_keeps_the_k_likeliest(logits, k):
    kept = kept_ids(logits, Sampling(temperature=1.0, top_k=k, top_p=1.0))
    expected = sorted(logits, reverse=True)[: k if k > 0 else None]

    assert sorted((logits[token] for token in kept), reverse=True) == expected


@given(st.lists(st.integers(-80, 80), min_size=1, max_size=24, unique=True), st.sampled_from([0.05, 0.3, 0.77, 0.95]))
@settings(deadline=None)
def test_top_p_keeps_the_fewest_that_reach_the_mass(tenths, mass):
    logits = [tenth / 10 for tenth in tenths]
    probabilities = softmax(np.array(logits))
    expected, reached = set(), 0.0
    for token in likeliest_first(logits):
        expected.add(token)
        reached += probabilities[token]
        if reached >= mass:
            break

    assert kept_ids(logits, Sampling(temperature=1.0, top_k=0, top_p=mass)) == expected


@given(logit_lists, st.sampled_from([0.031, 0.213, 0.9]))
@settings(deadline=None)
def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest(logits, share):
    probabilities = softmax(np.array(logits))
    expected = {token for token, each in enumerate(probabilities) if each >= share * probabilities.max()}

    assert kept_ids(logits, Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=share)) == expected


def test_typical_p_keeps_the_least_surprising_tokens():
    probabilities = np.array([0.4, 0.17, 0.16, 0.14, 0.13])
    surprise = -np.log(probabilities)
    order = np.argsort(np.abs(surprise - (probabilities * surprise).sum()))
    needed = int(np.searchsorted(np.cumsum(probabilities[order]), 0.3)) + 1

    kept = kept_ids(np.log(probabilities).tolist(), Sampling(temperature=1.0, top_k=0, top_p=1.0, typical_p=0.3))

    assert kept == {int(token) for token in order[:needed]}
    assert 0 not in kept, "the likeliest token is not a typical one here"


def test_top_k_comes_before_top_p_and_temperature_before_both_probability_filters():
    logits = [4.0, 3.0, 2.0, 1.0, 0.0]
    # Of the two likeliest alone the first has 73 %: enough for 0.7, which it is not of all five.
    assert kept_ids(logits, Sampling(temperature=1.0, top_k=2, top_p=0.7)) == {0}
    assert kept_ids(logits, Sampling(temperature=1.0, top_k=0, top_p=0.7)) == {0, 1}
    # A high temperature flattens what top_p and min_p see.
    assert kept_ids(logits, Sampling(temperature=100.0, top_k=0, top_p=0.7)) == {0, 1, 2, 3}
    assert kept_ids(logits, Sampling(temperature=100.0, top_k=0, top_p=1.0, min_p=0.9)) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("temperature", [0.0, 1e-9, -1.0])
def test_temperature_zero_takes_the_likeliest(temperature):
    sampler = Sampler(Sampling(temperature=temperature), (), 64)

    assert sampler.choose(mx.array([0.1, 2.0, 1.9])).item() == 1


def test_draws_follow_the_probabilities():
    probabilities = np.array([0.6, 0.3, 0.1])
    sampler = Sampler(Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=3), (), 64)
    logits = mx.array(np.log(probabilities).tolist())

    drawn = Counter(mx.concatenate([sampler.choose(logits) for _ in range(3000)]).tolist())

    assert [drawn[token] / 3000 for token in range(3)] == pytest.approx(probabilities, abs=0.03)


def test_a_seed_repeats_its_draws_whatever_is_drawn_in_between():
    logits = mx.array([0.0] * 50)
    alone = Sampler(Sampling(seed=42), (), 64)
    first = [alone.choose(logits).item() for _ in range(20)]
    again, other = Sampler(Sampling(seed=42), (), 64), Sampler(Sampling(seed=43), (), 64)
    mixed = []
    for _ in range(20):
        other.choose(logits)
        mx.random.normal((3,))
        mixed.append(again.choose(logits).item())

    assert mixed == first
    assert len(set(first)) > 5


def test_without_a_seed_draws_differ():
    logits = mx.array([0.0] * 1000)
    samplers = [Sampler(PLAIN, (), 64) for _ in range(4)]
    drawn = {tuple(sampler.choose(logits).item() for _ in range(4)) for sampler in samplers}

    assert len(drawn) == 4


@given(logit_lists, st.lists(st.integers(0, 23), max_size=30))
@settings(deadline=None)
def test_penalties_are_multiplied_or_subtracted_as_documented(logits, recent):
    recent = [token % len(logits) for token in recent]
    options = Sampling(repeat_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.25)
    expected = list(logits)
    for token, count in Counter(recent).items():
        logit = expected[token]
        expected[token] = (logit / 1.3 if logit > 0 else logit * 1.3) - 0.4 - 0.25 * count

    found = sampling.penalised(mx.array(logits), mx.array(recent, dtype=mx.int32), options)

    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def greedy_with_penalty(prompt: tuple[int, ...], repeat_last_n: int, context: int = 64) -> list[int]:
    options = Sampling(temperature=0.0, repeat_penalty=100.0, repeat_last_n=repeat_last_n)
    sampler = Sampler(options, prompt, context)
    return [sampler.choose(mx.array([3.0, 2.0, 1.0])).item() for _ in range(4)]


def test_the_window_of_the_penalties_slides_over_prompt_and_answer():
    assert greedy_with_penalty((0,), 1) == [1, 0, 1, 0]
    assert greedy_with_penalty((1, 0), 1) == [1, 0, 1, 0]
    assert greedy_with_penalty((1, 0), 2) == [2, 1, 0, 2]
    assert greedy_with_penalty((0,), 0) == [0, 0, 0, 0]
    assert greedy_with_penalty((0, 1, 2, 2, 2), -1, context=64) == [0, 0, 0, 0]


def test_a_top_k_larger_than_the_vocabulary_keeps_all():
    assert kept_ids([1.0, 2.0], Sampling(temperature=1.0, top_k=1000, top_p=1.0)) == {0, 1}


@pytest.mark.parametrize("options", [Sampling(repeat_penalty=0.0), Sampling(repeat_penalty=-1.0), Sampling(stop=("",))])
def test_options_without_a_meaning_are_refused(options):
    with pytest.raises(InvalidOption):
        sampling.check(options)
