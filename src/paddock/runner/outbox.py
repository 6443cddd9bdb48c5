"""What an engine's steps made, on its way to the event loop: words that come fast wait there for each other."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Callable

from paddock.runner.loop import Frames

TOGETHER_SECONDS = 1 / 30
"""How long words may wait for more: thirty times in a second is a flow to whoever reads."""


class Outbox:
    """Wakes the event loop no more often than words are to be told.

    Each wake costs the engine: the event loop's thread, the server and the client all take processors that it computes
    with, and more of them than a small model takes to find a token.
    """

    def __init__(self, deliver: Callable[[Frames], None]) -> None:
        self._events = asyncio.get_running_loop()
        self._deliver = deliver
        self._waiting: queue.SimpleQueue[Frames] = queue.SimpleQueue()
        self._looks_soon = False
        """Whether the event loop will look by itself. It says that it will not before it looks a last time, so nothing
        that was put here meanwhile is left lying."""

    def put(self, frames: Frames, *, can_wait: bool) -> None:
        """Have frames delivered, at once or together with what comes soon. For the engine's thread."""
        self._waiting.put(frames)
        if not (can_wait and self._looks_soon):
            # A closed loop means that the process is ending: nobody is left to listen.
            with contextlib.suppress(RuntimeError):
                self._events.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        found: Frames = []
        with contextlib.suppress(queue.Empty):
            while True:
                found += self._waiting.get_nowait()
        if not found:
            return
        self._deliver(found)
        if not self._looks_soon:
            self._looks_soon = True
            self._events.call_later(TOGETHER_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._looks_soon = False
        self._look()
