from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.runner.engines.text.prefix.stops import (
    GAP_TOKENS,
    STRIDE_TOKENS,
    STRIDES_PER_PROMPT,
    TAIL_TOKENS,
    planned_stops,
)

NEVER = 0.0
ALWAYS = float("inf")


def test_what_can_be_cut_to_any_length_needs_no_stop() -> None:
    assert planned_stops(0, 10_000, 500, ALWAYS) == ()


def test_a_prompt_stops_before_its_end_and_where_it_parts_from_an_earlier_one() -> None:
    assert planned_stops(0, 1000, 0, NEVER) == (1000 - TAIL_TOKENS,)
    assert planned_stops(0, 1000, 400, NEVER) == (400, 1000 - TAIL_TOKENS)


def test_a_short_question_after_a_shared_beginning_stops_after_the_beginning() -> None:
    assert planned_stops(0, 1000, 970, NEVER) == (970,)


def test_what_was_kept_before_is_not_kept_again() -> None:
    assert planned_stops(400, 1000, 400, NEVER) == (1000 - TAIL_TOKENS,)
    assert planned_stops(1000 - TAIL_TOKENS, 1000, 1000 - TAIL_TOKENS, NEVER) == ()


@pytest.mark.parametrize("total", [0, 1, TAIL_TOKENS, GAP_TOKENS])
def test_a_short_prompt_has_no_stops(total: int) -> None:
    assert planned_stops(0, total, 0, NEVER) == ()


def test_a_long_prompt_stops_a_few_times_at_places_that_others_stop_at_too() -> None:
    total = 100_000
    *strides, tail = planned_stops(0, total, 0, NEVER)

    assert tail == total - TAIL_TOKENS
    assert 2 <= len(strides) <= STRIDES_PER_PROMPT
    assert all(stop % STRIDE_TOKENS == 0 for stop in strides)


def test_one_stop_below_the_horizon_stands_for_all_others_there() -> None:
    assert planned_stops(0, 500, 200, 1024) == (500 - TAIL_TOKENS,)
    assert planned_stops(0, 3000, 200, 1024) == (1023, 2048, 3000 - TAIL_TOKENS)


@given(st.integers(0, 40_000), st.integers(0, 40_000), st.integers(0, 40_000), st.sampled_from([0, 16, 512, 4096]))
def test_stops_lie_ahead_and_apart_and_are_few(start: int, total: int, parting: int, horizon: int) -> None:
    stops = planned_stops(start, total, parting, horizon)

    assert all(start < stop < total for stop in stops)
    assert all(second - first >= GAP_TOKENS for first, second in pairwise(stops))
    assert len(stops) <= STRIDES_PER_PROMPT + 3
