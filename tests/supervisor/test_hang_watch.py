"""When a runner that does not move is given up, under a clock of its own."""

from paddock.protocol import Activity, Health, RunnerState
from paddock.supervisor.hang_watch import UNKNOWN_LEASE_SECONDS, HangLimits, HangWatch

LIMITS = HangLimits(grace_seconds=2, poll_seconds=1, answer_seconds=1)


def health(beats: int = 0, active: int = 1, lease: float = 5, activity: Activity = Activity.DECODE) -> Health:
    return Health(
        state=RunnerState.READY, pid=1, beats=beats, active_requests=active, lease_seconds=lease, activity=activity
    )


def verdict_at(watch: HangWatch, says: Health | None, start: int = 1, end: int = 300) -> int:
    """The second at which it is given up, polled once a second; 0 if never."""
    for now in range(start, end):
        watch.silence(now) if says is None else watch.heard(says, now)
        if watch.verdict:
            return now
    return 0


def test_no_beat_for_longer_than_the_lease_and_the_grace_is_a_hang():
    watch = HangWatch(LIMITS, 0)
    watch.heard(health(), 0)
    assert verdict_at(watch, health()) == 8
    assert watch.verdict == "hang, no progress for 8 seconds (decode)"


def test_silence_counts_like_standing_still():
    watch = HangWatch(LIMITS, 0)
    watch.heard(health(), 0)
    assert verdict_at(watch, None) == 8


def test_each_beat_begins_the_count_anew():
    watch = HangWatch(LIMITS, 0)
    for now in range(0, 700, 7):
        watch.heard(health(beats=now), now)
        assert not watch.verdict


def test_a_long_lease_is_waited_for():
    watch = HangWatch(LIMITS, 0)
    assert verdict_at(watch, health(lease=120, activity=Activity.IMAGE)) == 124


def test_who_has_nothing_to_do_is_never_given_up():
    assert verdict_at(HangWatch(LIMITS, 0), health(active=0)) == 0


def test_who_never_answered_gets_the_longest_lease_there_is():
    assert verdict_at(HangWatch(LIMITS, 0), None) == UNKNOWN_LEASE_SECONDS + 3


def test_time_in_which_the_watcher_slept_itself_does_not_count():
    watch = HangWatch(LIMITS, 0)
    watch.heard(health(), 0)
    watch.silence(10_000)
    assert not watch.verdict
    watch.heard(health(), 10_001)
    watch.heard(health(beats=1), 10_002)
    assert verdict_at(watch, health(beats=1), 10_003, 10_100) == 10_010
