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
    standstill_seconds: float = 5.0
    """Without an answer and without any use of a processor, once it has answered: the process stands still. One that
    only answers late, because an import or a full machine keeps it from it, still takes processor time."""
    ping_seconds: float = 2.0
    memory_seconds: float = 1.0
    grace_seconds: float = 5.0
    """From SIGTERM to SIGKILL."""
    drain_seconds: float = 0.5
    """From the end of the process to the end of its connections: what it still said may be read so long."""
    first_poll_seconds: float = 0.02
    longest_poll_seconds: float = 0.1

    @property
    def longest_gap_seconds(self) -> float:
        """Between two looks at a loading runner, at most."""
        return 2 * (self.ping_seconds + self.longest_poll_seconds)


class LoadWatch:
    """Decides from what a loading runner says, and when, whether it still gets anywhere. It has no clock."""

    def __init__(self, name: str, deadlines: Deadlines, now: float) -> None:
        self._name = name
        self._deadlines = deadlines
        self._last_seen: tuple[RunnerState, float] | None = None
        self._last_progress = now
        self._still_seconds = 0.0
        self._looked_at = now
        self._processor_seconds = -1.0

    def saw(self, health: Health, now: float) -> None:
        """Note what it said; a change of state or progress starts the deadline anew."""
        seen = (health.state, health.progress)
        if seen != self._last_seen:
            self._last_seen, self._last_progress = seen, now
        self._still_seconds, self._looked_at = 0.0, now

    def silence(self, processor_seconds: float, now: float) -> None:
        """It did not answer; so much processor time it has taken since its start."""
        if processor_seconds != self._processor_seconds:
            self._still_seconds, self._processor_seconds = 0.0, processor_seconds
        elif self._last_seen is not None:
            # While the watcher itself was not awake nobody is to blame.
            self._still_seconds += min(now - self._looked_at, self._deadlines.longest_gap_seconds)
        self._looked_at = now

    @property
    def verdict(self) -> str:
        """Why it is given up, as a clause; empty while it is not."""
        if self._still_seconds <= self._deadlines.standstill_seconds:
            return ""
        return f"hang, it stood still for {self._still_seconds:.0f} seconds while it was loading"

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
