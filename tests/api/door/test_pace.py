"""When a connection's time is over: only the client's own time counts."""

from __future__ import annotations

import itertools

import pytest

from paddock.api.door.pace import TRANSITIONS, Limits, Pace, Phase, is_overdue

LIMITS = Limits(
    head_seconds=10,
    body_idle_seconds=20,
    body_bytes_per_second=100,
    stalled_seconds=30,
    rest_seconds=3,
    idle_seconds=50,
)


def pace_in(phase: Phase, now: float = 0.0) -> Pace:
    pace = Pace(since=now, last_at=now)
    pace.enter(phase, now)
    return pace


@pytest.mark.parametrize(
    ("phase", "seconds"), [(Phase.HEAD, 10), (Phase.REST, 3), (Phase.CLOSING, 3), (Phase.IDLE, 50), (Phase.BODY, 20)]
)
def test_every_phase_of_a_silent_client_has_its_end(phase: Phase, seconds: float) -> None:
    assert not is_overdue(pace_in(phase), LIMITS, seconds)
    assert is_overdue(pace_in(phase), LIMITS, seconds + 0.1)


def test_an_answer_takes_as_long_as_it_takes() -> None:
    assert not is_overdue(pace_in(Phase.ANSWER), LIMITS, 1e9)


def test_bytes_of_a_head_do_not_stretch_its_time() -> None:
    pace = pace_in(Phase.HEAD)
    for second in range(10):
        pace.received(1, second)
        pace.enter(Phase.HEAD, second)

    assert is_overdue(pace, LIMITS, 10.1)


def test_a_body_has_to_come_at_a_certain_rate_once_it_had_time_to_begin() -> None:
    slow, fast = pace_in(Phase.BODY), pace_in(Phase.BODY)
    for second in range(1, 22):
        slow.received(99, second)
        fast.received(101, second)

    assert not is_overdue(slow, LIMITS, 20)
    assert is_overdue(slow, LIMITS, 21)
    assert not is_overdue(fast, LIMITS, 21)


def test_a_burst_does_not_buy_more_silence_than_the_pause_that_is_allowed() -> None:
    pace = pace_in(Phase.BODY)
    pace.received(10**9, 1)

    assert not is_overdue(pace, LIMITS, 21)
    assert is_overdue(pace, LIMITS, 21.1)


def test_time_in_which_the_server_does_not_read_is_not_the_clients() -> None:
    pace = pace_in(Phase.BODY)
    for _ in range(100):
        pace.excuse(1)

    assert not is_overdue(pace, LIMITS, 110)
    assert is_overdue(pace, LIMITS, 121)


def test_a_reader_that_stands_still_is_overdue_in_every_phase() -> None:
    pace = pace_in(Phase.ANSWER)
    pace.stalled(5)
    pace.stalled(20)

    assert not is_overdue(pace, LIMITS, 35)
    assert is_overdue(pace, LIMITS, 35.1)
    pace.flows()
    assert not is_overdue(pace, LIMITS, 100)


def test_phases_follow_one_another_as_the_table_says() -> None:
    for before, after in itertools.permutations(Phase, 2):
        pace = Pace(0.0, phase=before)
        if after in TRANSITIONS[before]:
            pace.enter(after, 1.0)
            assert (pace.phase, pace.since, pace.body_bytes) == (after, 1.0, 0)
        else:
            with pytest.raises(AssertionError):
                pace.enter(after, 1.0)
