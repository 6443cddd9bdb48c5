"""When to foresee, and how much: decided from figures alone."""

import pytest

from paddock.runner.engines.text.speculation.policy import DEEPEST, Policy
from paddock.runner.engines.text.speculation.rules import expected_tokens


def learned(plain: float, draft: float, further: float, *, stands: float, passes: int = 94) -> Policy:
    """A policy that has seen so many judgements, of which a share stood, and passes that took so many seconds."""
    policy = Policy()
    policy.was_plain(plain)
    policy.was_plain(plain)
    for number in range(passes):
        policy.was_judged(stands=int((number + 1) * stands) > int(number * stands))
        depth = max(1, DEEPEST >> (number // 2 % 4))
        policy.was_ahead(depth, depth * draft, plain + depth * further)
        if policy.is_plain_due:
            policy.was_plain(plain)
    return policy


@pytest.mark.parametrize(
    ("acceptance", "depth", "expected"), [(0.0, 4, 1.0), (1.0, 4, 5.0), (0.5, 2, 1.75), (0.9, 0, 1.0)]
)
def test_a_pass_brings_its_own_token_and_those_that_stand(acceptance, depth, expected):
    assert expected_tokens(acceptance, depth) == pytest.approx(expected)


def test_what_a_plain_pass_costs_is_measured_before_anything_is_foreseen():
    policy = Policy()

    assert policy.is_plain_due
    policy.was_plain(0.01)
    assert policy.is_plain_due
    policy.was_plain(0.01)
    assert not policy.is_plain_due
    assert policy.depth(8) == 2


def test_a_draft_that_is_always_right_and_cheap_foresees_as_much_as_may_be():
    policy = learned(0.010, 0.001, 0.0005, stands=1.0)

    assert policy.depth(20) == DEEPEST
    assert policy.depth(3) == 3


def test_the_less_stands_the_less_is_foreseen():
    depths = [learned(0.010, 0.001, 0.0005, stands=share).depth(8) for share in (0.95, 0.8, 0.6, 0.4)]

    assert depths == sorted(depths, reverse=True)
    assert depths[0] > depths[-1] > 0


@pytest.mark.parametrize(
    ("draft", "further", "stands"),
    [(0.001, 0.0005, 0.0), (0.010, 0.0005, 0.9), (0.001, 0.010, 0.95)],
    ids=["nothing stands", "the draft is as slow as the model", "each further token costs a pass"],
)
def test_where_it_does_not_pay_it_rests(draft, further, stands):
    policy = learned(0.010, draft, further, stands=stands)

    assert policy.depth(8) == 0
    assert policy.is_resting


def test_a_rest_ends_after_so_many_tokens_with_a_fresh_trial():
    policy = learned(0.010, 0.001, 0.0005, stands=0.0)
    policy.depth(8)

    for _ in range(128):
        assert policy.is_resting
        policy.rested()

    assert not policy.is_resting
    assert policy.is_plain_due
    assert policy.acceptance == pytest.approx(0.7)


def test_each_rest_in_a_row_is_twice_as_long():
    policy = learned(0.010, 0.020, 0.0005, stands=0.0, passes=8)

    lengths = []
    for _ in range(7):
        assert policy.depth(8) == 0
        length = 0
        while policy.is_resting:
            policy.rested()
            length += 1
        lengths.append(length)
        for _ in range(20):
            policy.was_judged(stands=False)
        for _ in range(8):
            policy.was_ahead(1, 0.020, 0.0105)

    assert lengths == [128, 256, 512, 1024, 2048, 4096, 4096]


def test_deeper_passes_are_tried_while_they_may_cost_no_more():
    policy = Policy()
    for _ in range(2):
        policy.was_plain(0.010)
    depths = []
    for _ in range(8):
        depths.append(policy.depth(8))
        for _ in range(depths[-1]):
            policy.was_judged(stands=True)
        policy.was_ahead(depths[-1], 0.001 * depths[-1], 0.018)

    assert depths == [2, 4, 8, 8, 8, 8, 8, 8]
    assert policy.pace(8) == pytest.approx(9 / 0.026, rel=0.1)


def test_what_a_first_pass_of_a_depth_costs_is_not_believed_at_once():
    policy = learned(0.010, 0.001, 0.0, stands=1.0, passes=32)
    policy.was_plain(0.010)
    policy.was_ahead(4, 0.004, 0.010)
    policy.was_ahead(8, 0.008, 0.500)

    assert policy.depth(8) == 8
    policy.was_ahead(8, 0.008, 0.500)
    assert policy.depth(8) < 8


def test_one_slow_pass_among_others_changes_nothing():
    policy = learned(0.010, 0.001, 0.0005, stands=0.9)
    before = policy.depth(8)

    policy.was_ahead(4, 1.0, 2.0)
    policy.was_plain(3.0)

    assert policy.depth(8) == before


def test_the_draft_reads_a_prompt_for_about_as_long_as_a_pass_takes():
    policy = Policy()
    assert policy.read_tokens == 16
    policy.was_plain(0.010)
    policy.was_read(100, 0.01)

    assert policy.read_tokens == 100
