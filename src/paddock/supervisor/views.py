"""What can be seen from outside of who looks after the runners: a copy, taken at one moment."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from paddock.supervisor.breaker import BreakerState
from paddock.supervisor.exit_report import Cause


class SpareState(enum.StrEnum):
    """Of the warm spare."""

    OFF = "off"
    """The settings want none."""
    ABSENT = "absent"
    """There is none now: it was taken, memory is short, or the runners have too much to do to start one."""
    PRESENT = "present"


@dataclass(frozen=True)
class SpareView:
    """The warm spare."""

    state: SpareState = SpareState.OFF
    held_bytes: int = 0


@dataclass(frozen=True)
class BreakerView:
    """The record of a model that has crashed lately."""

    model: str
    digest: str
    """Of the model's folder of files."""
    state: BreakerState
    crashes: int
    """Within the window."""
    retry_seconds: float
    """Until it may be started again; 0 if it may be now."""
    cause: str
    """Of the last crash: a clause."""


@dataclass(frozen=True)
class StableView:
    """All runners together."""

    spare: SpareView = SpareView()
    breakers: tuple[BreakerView, ...] = ()
    """Of models that have crashed and were not well for long enough since."""
    crashes: Mapping[Cause, int] = field(default_factory=dict)
    """Since the server's start."""
