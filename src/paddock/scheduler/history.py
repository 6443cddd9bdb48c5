"""What the scheduler has done since its start: counted, and the last of it word by word. It decides nothing. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from paddock.errors import Cancelled
from paddock.scheduler import actions, events
from paddock.scheduler.actions import Action, StopReason
from paddock.scheduler.events import Event

MOST_DECISIONS = 32
LOAD_OUTCOMES = ("ready", "failed", "stopped")


@dataclass(frozen=True)
class Decision:
    """One decision that was performed."""

    at: float
    """On the scheduler's clock."""
    what: str
    """start | stop | shrink | postpone | reject"""
    model: str
    why: str


@dataclass(frozen=True)
class HistoryView:
    """A copy, taken at one moment. Counts are since the server's start."""

    now: float = 0.0
    """On the scheduler's clock."""
    decisions: tuple[Decision, ...] = ()
    """The last of them, oldest first."""
    loads: Mapping[str, int] = field(default_factory=dict)
    """Loads that ended, by how: ready | failed | stopped."""
    load_seconds: float = 0.0
    """Of all loads that ended ready, together."""
    stops: Mapping[StopReason, int] = field(default_factory=dict)
    rejections: Mapping[str, int] = field(default_factory=dict)
    """Requests that got no lease, by the code of the error."""


class History:
    """Told of everything by the scheduler's one task."""

    def __init__(self) -> None:
        self._decisions: deque[Decision] = deque(maxlen=MOST_DECISIONS)
        self._loading_since: dict[int, float] = {}
        self._loads: Counter[str] = Counter()
        self._load_seconds = 0.0
        self._stops: Counter[StopReason] = Counter()
        self._rejections: Counter[str] = Counter()

    def performed(self, now: float, model: str, action: Action) -> None:
        """An action was taken; `model` is the name of the one that it concerns. What grants lead to, requests tell."""
        match action:
            case actions.StartRunner():
                self._loading_since[action.generation] = now
                self._note(now, "start", model, action.why)
            case actions.StopRunner():
                self._stops[action.reason] += 1
                self._note(now, "stop", model, action.why)
            case actions.ShrinkCaches():
                self._note(now, "shrink", model, action.why)
            case actions.Postpone():
                self._note(now, "postpone", model, action.why)
            case actions.Reject():
                self._rejections[action.error.code] += 1
                if not isinstance(action.error, Cancelled):  # that was the client's decision
                    self._note(now, "reject", action.name, action.error.message)
            case actions.Grant() | actions.ArmTimer():
                pass

    def heard(self, event: Event) -> None:
        """An event was taken in; only the ends of loads count."""
        match event:
            case events.Ready():
                self._ended(event.generation, "ready", event.now)
            case events.LoadFailed() | events.Exited():
                self._ended(event.generation, "failed", event.now)
            case events.Stopped():
                self._ended(event.generation, "stopped", event.now)
            case _:
                pass

    def view(self, now: float) -> HistoryView:
        """As it is now."""
        return HistoryView(
            now=now,
            decisions=tuple(self._decisions),
            loads=dict(self._loads),
            load_seconds=self._load_seconds,
            stops=dict(self._stops),
            rejections=dict(self._rejections),
        )

    def _ended(self, generation: int, how: str, now: float) -> None:
        """The end of a load, or of a runner whose load ended long ago."""
        since = self._loading_since.pop(generation, None)
        if since is not None:
            self._loads[how] += 1
            self._load_seconds += now - since if how == "ready" else 0.0

    def _note(self, now: float, what: str, model: str, why: str) -> None:
        self._decisions.append(Decision(now, what, model, why))
