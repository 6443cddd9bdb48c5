"""How long work on one thread may take, asked from another: native code cannot be interrupted, only given up on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class _Allowance:
    clock: Callable[[], float]
    ends_at: float
    problem: str


class Watch:
    """Allowances for the work of one thread at a time.

    Counted is the thread's own processor time where the system tells it (Linux), so that a busy machine makes nobody
    overdue; elsewhere the time that passes.
    """

    def __init__(self) -> None:
        self._allowance: _Allowance | None = None

    @contextlib.contextmanager
    def allow(self, seconds: float, problem: str) -> Iterator[None]:
        """Let the calling thread work for so long inside the block; `problem`, a sentence, says what took longer."""
        clock = _clock_of_this_thread()
        self._allowance = _Allowance(clock, clock() + seconds, problem)
        try:
            yield
        finally:
            self._allowance = None

    @property
    def overdue(self) -> str:
        """What is taking longer than it may, right now; empty if nothing is. Any thread may ask."""
        allowance = self._allowance
        return allowance.problem if allowance is not None and allowance.clock() > allowance.ends_at else ""


def _clock_of_this_thread() -> Callable[[], float]:
    find_clock = getattr(time, "pthread_getcpuclockid", None)
    if find_clock is None:
        return time.monotonic
    identity = find_clock(threading.get_ident())
    return lambda: time.clock_gettime(identity)
