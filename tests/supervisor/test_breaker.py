"""The breaker under a clock of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.supervisor.breaker import TRANSITIONS, Breaker, BreakerLimits, BreakerState


def crashed(*times: float) -> Breaker:
    breaker = Breaker(BreakerLimits())
    for time in times:
        breaker.crashed(time, "it fell over")
    return breaker


def test_three_crashes_within_a_minute_open_it_for_ten_seconds():
    assert crashed(0, 1).wait_seconds(2) == 0
    breaker = crashed(0, 30, 59)
    assert breaker.state is BreakerState.OPEN
    assert breaker.wait_seconds(59) == 10
    assert breaker.wait_seconds(68) == 1
    assert breaker.cause == "it fell over"


def test_three_crashes_in_more_than_a_minute_do_not():
    assert crashed(0, 30, 61).wait_seconds(61) == 0


def test_after_the_pause_one_start_is_a_trial():
    breaker = crashed(0, 1, 2)
    assert breaker.wait_seconds(12) == 0
    assert breaker.state is BreakerState.HALF_OPEN


def test_each_failed_trial_doubles_the_pause_up_to_ten_minutes():
    breaker, now, pauses = crashed(0, 1, 2), 2.0, []
    for _ in range(9):
        pauses.append(breaker.wait_seconds(now))
        now += pauses[-1]
        assert breaker.wait_seconds(now) == 0
        breaker.crashed(now, "again")
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_a_healthy_minute_after_a_trial_closes_it_and_forgets():
    breaker = crashed(0, 1, 2)
    breaker.wait_seconds(12)
    breaker.ready(13)
    assert not breaker.is_forgettable(72.9)
    assert breaker.is_forgettable(73)
    assert breaker.state is BreakerState.CLOSED
    for time in (80, 81, 82):
        breaker.crashed(time, "anew")
    assert breaker.wait_seconds(82) == 10


def test_a_healthy_minute_between_crashes_starts_the_count_anew():
    breaker = Breaker(BreakerLimits(window_seconds=1000))
    breaker.crashed(0, "")
    breaker.crashed(1, "")
    breaker.ready(2)
    breaker.crashed(63, "")
    assert breaker.recent_count(63) == 1


def test_a_trial_that_is_stopped_early_leaves_it_on_trial():
    breaker = crashed(0, 1, 2)
    breaker.wait_seconds(12)
    breaker.ready(13)
    breaker.stopped(20)
    assert not breaker.is_forgettable(100)
    breaker.crashed(101, "")
    assert breaker.wait_seconds(101) == 20


def test_no_number_of_crashes_opens_one_that_is_turned_off():
    breaker = Breaker(BreakerLimits(crashes=0))
    for time in range(50):
        breaker.crashed(time, "")
    assert breaker.wait_seconds(50) == 0


@pytest.mark.parametrize("state", BreakerState)
def test_the_table_knows_every_state(state):
    assert TRANSITIONS[state]


@given(st.lists(st.tuples(st.sampled_from(["start", "ready", "stopped", "crashed"]), st.floats(0, 100)), max_size=60))
def test_whatever_happens_it_makes_no_step_outside_the_table_and_waits_no_longer_than_ten_minutes(history):
    breaker, now, is_running = Breaker(BreakerLimits()), 0.0, False
    for event, pause in history:
        now += pause
        if event == "start" and not is_running:
            wait_seconds = breaker.wait_seconds(now)
            assert 0 <= wait_seconds <= 600
            is_running = wait_seconds == 0
        elif event == "ready" and is_running:
            breaker.ready(now)
        elif event in ("stopped", "crashed") and is_running:
            getattr(breaker, event)(now, *(["x"] if event == "crashed" else []))
            is_running = False


@given(st.lists(st.floats(0.01, 2), min_size=3, max_size=30))
def test_a_crash_loop_gets_three_starts_until_the_pause_is_over(pauses):
    breaker, starts, now = Breaker(BreakerLimits()), 0, 0.0
    for pause in pauses:
        now += pause
        if breaker.wait_seconds(now):
            break
        starts += 1
        breaker.crashed(now, "")
    assert starts == 3
