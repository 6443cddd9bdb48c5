"""Trying again what may work the next time: how often, and after which pauses."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from paddock.errors import RemoteFailed

MOST_FAILURES = 6
"""In a row. One that brought `WORTH_BYTES` before it begins a new row, so that a bad line ends too, if slowly."""
WORTH_BYTES = 8 * 1024 * 1024
LONGEST_PAUSE_SECONDS = 30.0
MOST_ROUNDS = 3
"""How often what somebody has removed or damaged meanwhile is fetched anew."""

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Interrupted(Exception):
    """Something that may work when it is tried again. It never leaves the store."""

    def __init__(self, reason: str, pause_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause_seconds = pause_seconds
        """How long the other server wants to be left alone."""


class Unreachable(Interrupted):
    """Nobody answers at the other server's address."""


class Patience:
    """How often something may still fail, and the pauses in between."""

    def __init__(self, backoff_seconds: float, most_failures: int = MOST_FAILURES, what: str = "download") -> None:
        self._backoff_seconds = backoff_seconds
        self._most_failures = most_failures
        self._what = what
        self._failures = 0
        self._gained_bytes = 0

    async def after(self, error: Interrupted, gained_bytes: int = 0) -> None:
        """Wait until it is time to try again. RemoteFailed when it has failed too often."""
        self._gained_bytes += gained_bytes
        if self._gained_bytes >= WORTH_BYTES:
            self._failures = self._gained_bytes = 0
        self._failures += 1
        _log.info("interrupted, attempt %d: %s", self._failures, error.reason)
        if self._failures >= self._most_failures:
            raise RemoteFailed(
                f"The {self._what} failed {self._failures} times in a row, as {error.reason}; try again later to go on "
                "from where it is."
            )
        pause = min(self._backoff_seconds * 2 ** (self._failures - 1), LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(max(pause * random.uniform(0.5, 1.0), error.pause_seconds))


async def retried(
    work: Callable[[], Awaitable[_Result]], backoff_seconds: float, most_failures: int = MOST_FAILURES
) -> _Result:
    """What `work` gives, tried again while it is Interrupted. RemoteFailed in the end."""
    patience = Patience(backoff_seconds, most_failures)
    while True:
        try:
            return await work()
        except Interrupted as error:
            await patience.after(error)
