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


STANDSTILL = Deadlines(standstill_seconds=5, ping_seconds=2, longest_poll_seconds=0.1)


def silent_for(watch: LoadWatch, looks: int, since: float, processor_seconds: list[float]) -> str:
    """What is said of it after so many looks, two seconds apart, in which it did not answer."""
    for look in range(looks):
        watch.silence(processor_seconds[look % len(processor_seconds)], since + 2 * (look + 1))
    return watch.verdict


def test_a_loading_runner_that_neither_answers_nor_takes_processor_time_stands_still():
    watch = LoadWatch("tiny", STANDSTILL, now=0.0)
    watch.saw(loading(0.5), now=10.0)
    assert silent_for(watch, 3, 10.0, [1.5]) == ""
    assert silent_for(watch, 1, 16.0, [1.5]) == "hang, it stood still for 6 seconds while it was loading"


def test_one_that_does_not_answer_because_it_works_is_left_alone():
    watch = LoadWatch("tiny", STANDSTILL, now=0.0)
    watch.saw(loading(0.5), now=10.0)
    assert silent_for(watch, 100, 10.0, [1.5, 1.6]) == ""


def test_an_answer_in_between_begins_the_count_anew():
    watch = LoadWatch("tiny", STANDSTILL, now=0.0)
    watch.saw(loading(0.5), now=10.0)
    silent_for(watch, 3, 10.0, [1.5])
    watch.saw(loading(0.5), now=17.0)
    assert silent_for(watch, 2, 17.0, [1.5]) == ""


def test_before_its_first_answer_a_runner_has_the_hello_deadline():
    assert silent_for(LoadWatch("tiny", STANDSTILL, now=0.0), 10, 0.0, [0.1]) == ""


def test_time_in_which_nobody_looked_counts_only_in_small_part():
    watch = LoadWatch("tiny", STANDSTILL, now=0.0)
    watch.saw(loading(0.5), now=10.0)
    watch.silence(1.5, 12.0)
    watch.silence(1.5, 5000.0)
    assert watch.verdict == ""


def test_without_a_load_timeout_a_load_may_stand_still():
    watch = LoadWatch("tiny", Deadlines(hello_seconds=10, load_seconds=FOREVER), now=0.0)
    watch.saw(loading(0.5), now=1.0)
    assert watch.check(1e9) is None
