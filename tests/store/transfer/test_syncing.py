"""What is written becomes durable in a thread of its own, and a slow disk is asked less often."""

from __future__ import annotations

import threading

import pytest

from paddock.store.transfer.syncing import MOST_BEHIND, Syncing


class Disk:
    """Takes as long as it is held up, and notes how many chunks it was asked to keep each time."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.has_begun = threading.Semaphore(0)
        self.goes_on = threading.Semaphore(0)
        self.problem: OSError | None = None

    def sync(self, count: int) -> None:
        self.asked.append(count)
        self.has_begun.release()
        assert self.goes_on.acquire(timeout=10)
        if self.problem:
            raise self.problem


def test_what_is_written_meanwhile_waits_for_the_next_time() -> None:
    disk = Disk()
    syncing = Syncing(disk.sync)
    syncing.ended()
    disk.has_begun.acquire()
    syncing.ended()
    assert disk.asked == [1]

    disk.goes_on.release(2)
    syncing.finish()

    assert disk.asked == [1, 1]


def test_the_writer_waits_for_a_disk_that_is_far_behind() -> None:
    disk = Disk()
    syncing = Syncing(disk.sync)
    for _ in range(MOST_BEHIND - 1):
        syncing.ended()
    writer = threading.Thread(target=syncing.ended)
    writer.start()
    disk.has_begun.acquire()
    assert disk.asked == [1]
    assert writer.is_alive()

    disk.goes_on.release(2)
    writer.join(10)

    assert not writer.is_alive()
    syncing.stop()
    assert disk.asked == [1, MOST_BEHIND - 1]


def test_a_failure_is_told_to_the_writer() -> None:
    disk = Disk()
    disk.problem = OSError("broken")
    disk.goes_on.release(2)
    syncing = Syncing(disk.sync)
    syncing.ended()

    with pytest.raises(OSError, match="broken"):
        syncing.settle()

    syncing.ended()
    syncing.finish()
    assert disk.asked == [1, 1]


def test_nothing_is_under_way_after_the_end() -> None:
    disk = Disk()
    syncing = Syncing(disk.sync)
    syncing.ended()
    syncing.ended()
    disk.goes_on.release()

    syncing.stop()

    assert disk.asked == [1]
    assert threading.active_count() == len([each for each in threading.enumerate() if "syncing" not in each.name])
