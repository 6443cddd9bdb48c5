"""Waiting for something that another process or task does: polls with a deadline, so that no test guesses at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

INTERVAL_SECONDS = 0.005
DEADLINE_SECONDS = 5.0


async def until(is_true: Callable[[], object], within_seconds: float = DEADLINE_SECONDS, what: str = "") -> float:
    """Return once `is_true()` is, with the seconds it took; AssertionError when that takes longer than allowed."""
    start = time.monotonic()
    while not is_true():
        if time.monotonic() - start > within_seconds:
            raise AssertionError(f"not within {within_seconds} s: {what or is_true}")
        await asyncio.sleep(INTERVAL_SECONDS)
    return time.monotonic() - start


def until_blocking(is_true: Callable[[], object], within_seconds: float = DEADLINE_SECONDS, what: str = "") -> float:
    """As `until`, where no event loop runs."""
    start = time.monotonic()
    while not is_true():
        if time.monotonic() - start > within_seconds:
            raise AssertionError(f"not within {within_seconds} s: {what or is_true}")
        time.sleep(INTERVAL_SECONDS)
    return time.monotonic() - start


async def settle() -> None:
    """Let the loop do what it has put off, such as closing sockets."""
    for _ in range(5):
        await asyncio.sleep(0)
