import sys
import threading
import time

import pytest

from paddock.runner.watch import Watch


def test_nothing_is_overdue_before_and_after_the_work():
    watch = Watch()
    assert watch.overdue == ""
    with watch.allow(60, "It takes too long."):
        assert watch.overdue == ""
    assert watch.overdue == ""


def test_work_beyond_its_allowance_is_seen_from_another_thread():
    watch = Watch()
    found = threading.Event()

    def work() -> None:
        with watch.allow(0.05, "It takes too long."):
            while not found.is_set():
                pass

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 30
    while watch.overdue != "It takes too long." and time.monotonic() < deadline:
        time.sleep(0.01)
    found.set()
    thread.join()

    assert time.monotonic() < deadline
    assert watch.overdue == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the processor time of a thread")
def test_waiting_is_not_working():
    watch = Watch()
    with watch.allow(0.01, "It takes too long."):
        time.sleep(0.05)
        assert watch.overdue == ""
