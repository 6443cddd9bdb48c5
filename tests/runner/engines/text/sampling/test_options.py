"""Both implementations of the choice of tokens, against definitions written out and against each other."""

import math
from collections import Counter

import mlx.core as mx
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.errors import InvalidOption
from paddock.protocol import Sampling
from paddock.runner.engines.text.sampling import device as device_sampling
from paddock.runner.engines.text.sampling import host as host_sampling
from paddock.runner.engines.text.sampling import options as sampling
from paddock.runner.engines.text.sampling.device import DeviceLikelihoods
from paddock.runner.engines.text.sampling.options import Chooser, Options, Window

PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0)
logit_lists = st.lists(st.integers(-80, 80).map(lambda tenth: tenth / 10), min_size=1, max_size=24)


def on_host(logits, choosers, masks=None) -> list[int]:
    options = Options.of([chooser.sampling for chooser in choosers])
    numbers = np.array(logits, dtype=np.float32)
    return host_sampling.choose(numbers, options, choosers, masks or [None] * len(choosers)).tolist()


def on_device(logits, choosers, masks=None) -> list[int]:
    options = Options.of([chooser.sampling for chooser in choosers])
    numbers = mx.array(np.array(logits, dtype=np.float32))
    return device_sampling.choose(numbers, options, choosers, masks or [None] * len(choosers)).tolist()


both = pytest.mark.parametrize("choose", [on_host, on_device])


def chooser_of(options: Sampling, prompt: tuple[int, ...] = (), context: int = 64) -> Chooser:
    return Chooser(options, prompt, context)


def softmax(values: np.ndarray) -> np.ndarray:
    exponents = np.exp(values - values.max())
    return exponents / exponents.sum()


def kept_ids(logits: list[float], options: Sampling) -> set[int]:
    """What may be drawn, on which both have to agree."""
    together = Options.of([options])
    row = np.array([logits], dtype=np.float32)
    weights, ids = host_sampling.candidates(row, together)
    theirs, their_ids = device_sampling.candidates(mx.array(row), together)
    assert np.array(their_ids).tolist() == ids.tolist()
    assert np.array(theirs) == pytest.approx(weights, rel=1e-4)
    return {int(token) for token, weight in zip(ids[0], weights[0], strict=True) if weight > 0}


def likeliest_first(logits: list[float]) -> list[int]:
    return sorted(range(len(logits)), key=lambda token: -logits[token])


@given(logit_lists, st.integers(-2, 40))
@settings(deadline=None, max_examples=60)
def test_top_k_keeps_the_k_likeliest_and_of_equal_ones_the_first(logits, k):
    expected = set(likeliest_first(logits)[: k if k > 0 else None])

    assert kept_ids(logits, Sampling(temperature=1.0, top_k=k, top_p=1.0)) == expected


@given(st.lists(st.integers(-80, 80), min_size=1, max_size=24, unique=True), st.sampled_from([0.05, 0.3, 0.77, 0.95]))
@settings(deadline=None, max_examples=60)
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
@settings(deadline=None, max_examples=60)
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


@both
@pytest.mark.parametrize("temperature", [0.0, 1e-9, -1.0])
def test_temperature_zero_takes_the_likeliest(choose, temperature):
    assert choose([[0.1, 2.0, 1.9]], [chooser_of(Sampling(temperature=temperature))]) == [1]


@both
@pytest.mark.parametrize(
    "options",
    [
        PLAIN,
        Sampling(temperature=0.7, top_k=5, top_p=0.9),
        Sampling(temperature=1.3, top_k=0, min_p=0.1, typical_p=0.9),
    ],
)
def test_draws_follow_the_distribution_that_the_options_describe(choose, options):
    source = np.random.default_rng(1)
    logits = source.normal(size=12) * 2
    weights, ids = host_sampling.candidates(np.array([logits], dtype=np.float32), Options.of([options]))
    expected = np.zeros(12)
    expected[ids[0]] = weights[0] / weights[0].sum()
    rows, rounds = 400, 10
    choosers = [chooser_of(Sampling(**{**as_dict(options), "seed": seed})) for seed in range(rows)]

    drawn = Counter(token for _ in range(rounds) for token in choose([logits] * rows, choosers))

    found = np.array([drawn[token] for token in range(12)]) / (rows * rounds)
    assert np.abs(found - expected).sum() / 2 < 0.03, "total variation distance"
    possible = expected > 0
    chi_square = (rows * rounds * (found - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_square < 35, "of at most 11 degrees of freedom: exceeded once in 4,000 times"
    assert not drawn.keys() - set(np.flatnonzero(possible).tolist())


def as_dict(options: Sampling) -> dict:
    return {name: getattr(options, name) for name in options.__struct_fields__}


@given(
    st.integers(0, 2**32),
    st.lists(
        st.builds(
            Sampling,
            temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
            top_k=st.sampled_from([0, 1, 3, 40, 500]),
            top_p=st.sampled_from([0.2, 0.9, 1.0]),
            min_p=st.sampled_from([0.0, 0.05]),
            typical_p=st.sampled_from([0.5, 1.0]),
            repeat_penalty=st.sampled_from([1.0, 1.2]),
            frequency_penalty=st.sampled_from([0.0, 0.5]),
            presence_penalty=st.sampled_from([0.0, 0.3]),
            logit_bias=st.sampled_from([{}, {3: 4.0, 60: -8.0}]),
            seed=st.integers(0, 1000),
        ),
        min_size=1,
        max_size=6,
    ),
)
@settings(deadline=None, max_examples=60)
def test_host_and_device_choose_the_same_tokens_whatever_else_is_in_the_batch(seed, samplings):
    source = np.random.default_rng(seed)
    logits = source.normal(size=(len(samplings), 64)).astype(np.float32) * 3
    prompts = [tuple(source.integers(0, 64, 20).tolist()) for _ in samplings]
    allowed = source.random((len(samplings), 64)) < 0.7
    masks = [np.packbits(row, bitorder="little").view(np.uint32) if row[0] else None for row in allowed]

    def choosers() -> list[Chooser]:
        return [chooser_of(*each) for each in zip(samplings, prompts, strict=True)]

    host, device = on_host(logits, choosers(), masks), on_device(logits, choosers(), masks)
    alone = [on_host(logits[[row]], [each], [masks[row]])[0] for row, each in enumerate(choosers())]

    assert host == alone
    assert host == device


@both
def test_a_seed_repeats_its_draws_whatever_is_drawn_in_between(choose):
    logits = [[0.0] * 50]
    alone = chooser_of(Sampling(seed=42))
    first = [choose(logits, [alone])[0] for _ in range(20)]
    again, other = chooser_of(Sampling(seed=42)), chooser_of(Sampling(seed=43))
    mixed = []
    for _ in range(20):
        mx.random.normal((3,))
        mixed.append(choose(logits * 2, [other, again])[1])

    assert mixed == first
    assert len(set(first)) > 5


def test_drawing_again_what_was_refused_comes_to_drawing_among_what_is_allowed():
    logits = np.tile(np.array([2.0, 1.0, 0.5, 0.0], dtype=np.float32), (20_000, 1))
    choosers = [Chooser(msgspec.structs.replace(PLAIN, seed=seed), [], 100) for seed in range(len(logits))]
    options = Options.of([PLAIN] * len(logits))
    mask = np.array([0b1010], dtype=np.uint32)

    first = host_sampling.choose(logits, options, choosers, [None] * len(logits))
    again = host_sampling.choose(logits, options, choosers, [mask] * len(logits), Chooser.draw_again)
    tokens = np.where(np.isin(first, [1, 3]), first, again)

    assert set(tokens.tolist()) == {1, 3}
    assert np.mean(tokens == 1) == pytest.approx(math.e / (math.e + 1), abs=0.01)


def test_drawing_again_takes_nothing_from_the_draws_that_follow():
    one, other = (Chooser(msgspec.structs.replace(PLAIN, seed=5), [], 100) for _ in range(2))
    first, second = one.draw(), one.draw_again()
    other.draw()

    assert first != second == one.draw_again()
    assert one.draw() == other.draw()


def test_without_a_seed_draws_differ():
    choosers = [chooser_of(PLAIN) for _ in range(4)]
    drawn = list(zip(*(on_host([[0.0] * 1000] * 4, choosers) for _ in range(4)), strict=True))

    assert len(set(drawn)) == 4


def test_uniform_numbers_are_even_and_never_one():
    numbers = np.array([sampling.uniform(seed, draw) for seed in range(40) for draw in range(100)])

    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.histogram(numbers, 10, (0, 1))[0] == pytest.approx(400, abs=80)
    assert sampling.uniform(1, 0) != sampling.uniform(0, 1)


@both
@given(logits=logit_lists, recent=st.lists(st.integers(0, 23), max_size=30))
@settings(deadline=None, max_examples=60)
def test_penalties_are_multiplied_or_subtracted_as_documented(choose, logits, recent):
    recent = [token % len(logits) for token in recent]
    options = Sampling(temperature=0, repeat_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.25)
    expected = list(logits)
    for token, count in Counter(recent).items():
        logit = expected[token]
        expected[token] = (logit / 1.3 if logit > 0 else logit * 1.3) - 0.4 - 0.25 * count

    [found] = choose([logits], [chooser_of(options, tuple(recent))])

    assert expected[found] == pytest.approx(max(expected), abs=1e-5)


def greedy_with_penalty(choose, prompt: tuple[int, ...], repeat_last_n: int, context: int = 64) -> list[int]:
    options = Sampling(temperature=0.0, repeat_penalty=100.0, repeat_last_n=repeat_last_n)
    chooser = chooser_of(options, prompt, context)
    tokens = []
    for _ in range(4):
        tokens += choose([[3.0, 2.0, 1.0]], [chooser])
        chooser.window.add(tokens[-1])
    return tokens


@both
def test_the_window_of_the_penalties_slides_over_prompt_and_answer(choose):
    assert greedy_with_penalty(choose, (0,), 1) == [1, 0, 1, 0]
    assert greedy_with_penalty(choose, (1, 0), 1) == [1, 0, 1, 0]
    assert greedy_with_penalty(choose, (1, 0), 2) == [2, 1, 0, 2]
    assert greedy_with_penalty(choose, (0,), 0) == [0, 0, 0, 0]
    assert greedy_with_penalty(choose, (0, 1, 2, 2, 2), -1, context=64) == [0, 0, 0, 0]


@given(st.integers(1, 6), st.lists(st.integers(0, 3), max_size=20))
@settings(deadline=None, max_examples=60)
def test_the_device_counts_a_token_that_only_it_knows(size, tokens):
    options = Sampling(temperature=0, frequency_penalty=1.0, repeat_last_n=size)
    told, untold = (chooser_of(options, tuple(tokens[: len(tokens) // 2])) for _ in range(2))
    for token in tokens[len(tokens) // 2 :]:
        told.window.add(token)
        untold.window.add(token)
    told.window.add(2)
    logits = mx.array([[0.0, 0.1, 0.2, 0.3]])

    newest = mx.array([2])
    found = device_sampling.choose(logits, Options.of([options]), [untold], [None], newest)

    assert found.tolist() == on_host([[0.0, 0.1, 0.2, 0.3]], [told])


def test_a_window_holds_the_last_tokens_and_their_counts():
    window = Window((5, 1, 1), 3)
    window.add(2)

    ids, counts = window.counts()

    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == {1: 2, 2: 1}
    assert window.last(2) == [1, 2]
    assert window.last(0) == []


@both
def test_a_bias_is_added_to_the_models_own_logits(choose):
    biased = Sampling(temperature=0, logit_bias={2: 5.0, 0: -5.0})

    assert choose([[3.0, 1.0, 0.0]] * 2, [chooser_of(biased), chooser_of(Sampling(temperature=0))]) == [2, 0]


@both
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_a_mask_refuses_is_never_chosen_whatever_a_bias_says(choose, temperature):
    options = Sampling(temperature=temperature, top_k=0, logit_bias={1: 90.0})
    mask = np.array([0b01100, 0b1], dtype=np.uint32)
    chosen = {choose([[0.0] * 40], [chooser_of(options)], [mask])[0] for _ in range(20)}

    assert chosen <= {2, 3, 32}
    assert choose([[0.0] * 40], [chooser_of(options)], [np.array([2, 0], dtype=np.uint32)]) == [1]


@both
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_where_nothing_is_possible_nothing_is_chosen_and_others_are_not_disturbed(choose, temperature):
    options = Sampling(temperature=temperature)
    logits = [[0.0, 9.0], [math.nan, math.nan], [0.0, 9.0]]
    nothing = np.zeros(1, dtype=np.uint32)

    found = choose(logits, [chooser_of(options) for _ in range(3)], [None, None, nothing])

    assert found[1:] == [host_sampling.NOTHING] * 2
    assert found[0] in (0, 1)


def test_a_top_k_larger_than_the_vocabulary_keeps_all():
    assert kept_ids([1.0, 2.0], Sampling(temperature=1.0, top_k=1000, top_p=1.0)) == {0, 1}


@pytest.mark.parametrize("count", [0, 1, 20])
def test_likelihoods_are_those_of_the_raw_distribution(count):
    logits = np.random.default_rng(4).normal(size=(2, 50)).astype(np.float32) * 3
    expected = np.log(softmax(logits[1].astype(np.float64)))
    ranked = np.argsort(-expected)[:count]

    host = host_sampling.likelihoods(logits, [0, 7], 1, count)
    device = DeviceLikelihoods.of(mx.array(logits), mx.array([0, 7])).read(1, count)

    for found in (host, device):
        assert found.logprob == pytest.approx(expected[7], abs=1e-5)
        assert [token for token, _ in found.top] == ranked.tolist()
        assert [logprob for _, logprob in found.top] == pytest.approx(expected[ranked].tolist(), abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        Sampling(repeat_penalty=0.0),
        Sampling(repeat_penalty=-1.0),
        Sampling(stop=("",)),
        Sampling(top_logprobs=-1),
        Sampling(top_logprobs=21),
        Sampling(logit_bias={-1: 1.0}),
        Sampling(logit_bias={50: 1.0}),
        Sampling(logit_bias={3: math.nan}),
    ],
)
def test_options_without_a_meaning_are_refused(options):
    with pytest.raises(InvalidOption) as caught:
        sampling.check(options, vocabulary=50)
    assert caught.value.message.endswith(".")


def test_options_with_a_meaning_pass():
    sampling.check(Sampling(top_logprobs=20, logit_bias={49: -100.0}), vocabulary=50)
