import pytest

from paddock.config import FOREVER
from paddock.errors import LoadFailed
from paddock.protocol import Health, RunnerState
from paddock.supervisor.load_watch import Deadlines, LoadWatch

DEADLINES = Deadlines(hello_seconds=10, load_seconds=60)


def loading(progress: float) -> Health:
    return Health(state=RunnerState.LOADING, pid=1, progress=progress)


def test_a_runner_that_never_answers_has_failed_after_the_hello_deadline():
    watch = LoadWatch("tiny", DEADLINES, now=100.0)
    watch.check(110.0)
    with pytest.raises(LoadFailed, match="did not answer within 10 seconds"):
        watch.check(110.1)


def test_progress_starts_the_deadline_anew_however_long_the_load_takes():
    watch = LoadWatch("tiny", DEADLINES, now=0.0)
    for step in range(100):
        watch.saw(loading(step / 100), now=step * 59.0)
        watch.check(step * 59.0 + 58.0)
    with pytest.raises(LoadFailed, match="no progress for 60 seconds"):
        watch.check(99 * 59.0 + 60.1)


def test_saying_the_same_again_is_no_progress():
    watch = LoadWatch("tiny", DEADLINES, now=0.0)
    watch.saw(loading(0.5), now=1.0)
    watch.saw(loading(0.5), now=60.0)
    with pytest.raises(LoadFailed):
        watch.check(61.1)


def test_a_change_of_state_is_progress():
    watch = LoadWatch("tiny", DEADLINES, now=0.0)
    watch.saw(Health(state=RunnerState.STARTING, pid=1), now=1.0)
    watch.saw(loading(0.0), now=60.0)
    assert watch.check(119.0) is None


def test_without_a_load_timeout_a_load_may_stand_still():
    watch = LoadWatch("tiny", Deadlines(hello_seconds=10, load_seconds=FOREVER), now=0.0)
    watch.saw(loading(0.5), now=1.0)
    assert watch.check(1e9) is None
