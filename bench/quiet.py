"""Figures from a machine whose host serves others too: what lost processors meanwhile is measured again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

MOST_TAKEN = 0.02
"""The share of the processors from which on a figure says more of the host than of what it measures."""
TRIES = 6

_Result = TypeVar("_Result")


def quietest(measure: Callable[[], _Result], tries: int = TRIES) -> tuple[_Result, float]:
    """What `measure` gave while the host took the least, and the share of the processors that it took then.

    A virtual machine's host may give its processors to others; Linux counts that time as stolen. The first try that
    lost at most `MOST_TAKEN` is as good as any. Where nothing is taken, or it is not counted, one try is all.
    """
    found: list[tuple[_Result, float]] = []
    while len(found) < tries and all(taken > MOST_TAKEN for _, taken in found):
        began_s, stolen_s = time.monotonic(), _stolen_seconds()
        result = measure()
        processors_s = (time.monotonic() - began_s) * (os.cpu_count() or 1)
        found.append((result, (_stolen_seconds() - stolen_s) / processors_s))
    return min(found, key=lambda each: each[1])


def _stolen_seconds() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))
