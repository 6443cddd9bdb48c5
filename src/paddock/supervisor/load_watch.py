"""How long a runner may take for what, and when a load that gets nowhere has failed. Pure: times are given to it."""

from __future__ import annotations

from dataclasses import dataclass

from paddock.errors import LoadFailed
from paddock.protocol import Health, RunnerState


@dataclass(frozen=True)
class Deadlines:
    """How long things may take, in seconds. Those of a load are about progress, not about its whole time."""

    hello_seconds: float = 30.0
    """From the start of the process to its first answer, which comes before it imports MLX."""
    load_seconds: float = 300.0
    """Without any progress while it loads; `FOREVER` for none."""
    ping_seconds: float = 2.0
    memory_seconds: float = 1.0
    grace_seconds: float = 5.0
    """From SIGTERM to SIGKILL."""
    drain_seconds: float = 0.5
    """From the end of the process to the end of its connections: what it still said may be read so long."""
    first_poll_seconds: float = 0.02
    longest_poll_seconds: float = 0.1


class LoadWatch:
    """Decides from what a loading runner says, and when, whether it still gets anywhere. It has no clock."""

    def __init__(self, name: str, deadlines: Deadlines, now: float) -> None:
        self._name = name
        self._deadlines = deadlines
        self._last_seen: tuple[RunnerState, float] | None = None
        self._last_progress = now

    def saw(self, health: Health, now: float) -> None:
        """Note what it said; a change of state or progress starts the deadline anew."""
        seen = (health.state, health.progress)
        if seen != self._last_seen:
            self._last_seen, self._last_progress = seen, now

    def check(self, now: float) -> None:
        """LoadFailed if the deadline has passed."""
        silent_seconds = now - self._last_progress
        if self._last_seen is None and silent_seconds > self._deadlines.hello_seconds:
            allowed = f"{self._deadlines.hello_seconds:g} seconds"
            raise LoadFailed(f"The runner of '{self._name}' did not answer within {allowed} of its start.")
        if self._last_seen is not None and silent_seconds > self._deadlines.load_seconds:
            raise LoadFailed(
                f"Loading '{self._name}' made no progress for {self._deadlines.load_seconds:g} seconds; "
                "set PADDOCK_LOAD_TIMEOUT to wait longer."
            )
