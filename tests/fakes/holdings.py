"""What a process holds of the system: threads, descriptors and tasks, and whether it came to hold more of them.

Counts are not compared for equality: what an earlier test let go of may be collected at any time, and then there is
less than before, which is no leak.
"""

from __future__ import annotations

import asyncio
import gc
import threading

import psutil

from tests.fakes.waiting import DEADLINE_SECONDS, until


class Holdings:
    """What this process holds at the moment that this is made."""

    def __init__(self) -> None:
        gc.collect()
        self._descriptors = psutil.Process().num_fds()
        self._threads = set(threading.enumerate())
        self._tasks = asyncio.all_tasks()

    def grown(self) -> list[str]:
        """What is held now beyond that, in words; empty if nothing is."""
        descriptors = psutil.Process().num_fds() - self._descriptors
        return [
            *(f"thread {each.name}" for each in threading.enumerate() if each not in self._threads),
            *(f"task {each.get_name()}" for each in asyncio.all_tasks() - self._tasks),
            *([f"{descriptors} descriptors"] if descriptors > 0 else []),
        ]

    async def are_all(self, within_seconds: float = DEADLINE_SECONDS) -> None:
        """Return once nothing is held beyond them; AssertionError with what is, when that takes too long."""
        try:
            await until(lambda: not self.grown(), within_seconds)
        except AssertionError:
            raise AssertionError(f"still held after {within_seconds} s: {', '.join(self.grown())}") from None
