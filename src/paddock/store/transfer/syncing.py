"""Durability behind the writer's back: what is written is made durable in a thread of its own, and whatever comes
meanwhile waits for the next time. So a slow disk is asked less often, rather than waited for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

MOST_BEHIND = 3
"""With so many chunks that are written and not durable the writer waits: with the one that it is at, a power cut takes
no more than four."""


class Syncing:
    """The thread of one file. Its methods block, and are called by one thread at a time."""

    def __init__(self, sync: Callable[[int], None]) -> None:
        """`sync` makes as many of the chunks durable that were written and were not, the oldest first."""
        self._sync = sync
        self._waiting = 0
        self._under_way = 0
        self._thread: ThreadPoolExecutor | None = None
        self._running: Future[None] | None = None

    def ended(self) -> None:
        """One more chunk is written. Raises what making the ones before it durable did."""
        self._waiting += 1
        if self._running is None or self._running.done() or self._waiting + self._under_way >= MOST_BEHIND:
            self.settle()
            self._begin()

    def settle(self) -> None:
        """Wait for what is being made durable; raises what that did."""
        running, self._running, self._under_way = self._running, None, 0
        if running is not None:
            running.result()

    def finish(self) -> None:
        """Make durable what can be, and end the thread."""
        with contextlib.suppress(OSError):  # it will be fetched again, if it has to be
            self.settle()
            if self._waiting:
                self._begin()
                self.settle()
        self.stop()

    def stop(self) -> None:
        """End the thread, and forget what waits. Nothing is done any more once this returns."""
        with contextlib.suppress(OSError):
            self.settle()
        self._waiting = 0
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "syncing")
        self._under_way, self._waiting = self._waiting, 0
        self._running = self._thread.submit(self._sync, self._under_way)
