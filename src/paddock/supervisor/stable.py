"""All runners of one server together: which may start, the spare that waits, and that none outlives the server."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from paddock.errors import Busy
from paddock.supervisor.breaker import Breaker, BreakerLimits, BreakerState
from paddock.supervisor.exit_report import Cause
from paddock.supervisor.guardian import Guardian
from paddock.supervisor.hang_watch import HangLimits
from paddock.supervisor.host import RunnerHost
from paddock.supervisor.load_watch import Deadlines
from paddock.supervisor.model_server import RunnerOptions, RunnerSpec
from paddock.supervisor.process import RunnerProcess
from paddock.supervisor.register import Register, sweep
from paddock.supervisor.runner_server import RunnerServer
from paddock.supervisor.spare import SpareLimits, WarmSpare
from paddock.supervisor.views import BreakerView, StableView

logger = logging.getLogger(__name__)

Key = tuple[str, RunnerOptions]
"""A model, by its digest, and its options. The folder of a model's files is named by the digest."""


@dataclass(frozen=True)
class StableLimits:
    """What a stable goes by."""

    deadlines: Deadlines = field(default_factory=Deadlines)
    hang: HangLimits = field(default_factory=HangLimits)
    breaker: BreakerLimits = field(default_factory=BreakerLimits)
    spare: SpareLimits = field(default_factory=SpareLimits)
    memory_bytes: int = 0
    """What all runners together may hold of the main memory, the spare included; 0 is no limit."""


class Stable:
    """Makes the servers of runners and looks after them. `open` before the first, `close` after the last."""

    def __init__(
        self, host: RunnerHost, run_folder: Path, limits: StableLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`run_folder` holds one small file for each runner, for the server that comes after an unclean end."""
        self._run_folder = run_folder
        self._limits = limits
        self._clock = clock
        self.guardian = Guardian()
        self._host = replace(host, register=Register(run_folder, self.guardian))
        self._breakers: dict[Key, Breaker] = {}
        self._crashes: Counter[Cause] = Counter()
        self._servers: weakref.WeakSet[RunnerServer] = weakref.WeakSet()
        self.spare = WarmSpare(self._host, limits.spare, self._is_quiet, left_bytes=self._left_bytes)

    async def open(self) -> None:
        """End what an earlier server left, and begin to look after this one's."""
        await asyncio.to_thread(sweep, self._run_folder)
        self.guardian.start()
        self.spare.start()

    async def close(self) -> None:
        """End the spare and the guardian. The servers have been closed."""
        await self.spare.close()
        await self.guardian.close()

    def make_server(self, spec: RunnerSpec) -> RunnerServer:
        """The server of a runner that is not started yet."""
        server = RunnerServer(spec, self._host, self._limits.deadlines, self, self._limits.hang)
        self._servers.add(server)
        return server

    def refused(self) -> dict[Key, Busy]:
        """What may not be started now, and why. What has been well for long enough is forgotten."""
        now = self._clock()
        for key in [key for key, breaker in self._breakers.items() if breaker.is_forgettable(now)]:
            del self._breakers[key]
        return {key: refusal for key, breaker in self._breakers.items() if (refusal := _refusal(breaker, now))}

    def view(self) -> StableView:
        """How things are at this moment. Waits for nothing and changes nothing."""
        now = self._clock()
        return StableView(
            spare=self.spare.view(),
            breakers=tuple(_breaker_view(key, breaker, now) for key, breaker in self._breakers.items()),
            crashes=dict(self._crashes),
        )

    # ---- Care ----

    def admit(self, spec: RunnerSpec) -> None:
        if refusal := self.refused().get(_key(spec)):
            raise refusal

    def take_spare(self, spec: RunnerSpec) -> RunnerProcess | None:
        return self.spare.take(spec)

    def ready(self, spec: RunnerSpec) -> None:
        if breaker := self._breakers.get(_key(spec)):
            breaker.ready(self._clock())

    def stopped(self, spec: RunnerSpec) -> None:
        if breaker := self._breakers.get(_key(spec)):
            breaker.stopped(self._clock())

    def crashed(self, spec: RunnerSpec, cause: str, kind: Cause = Cause.CRASHED) -> None:
        self._crashes[kind] += 1
        breaker = self._breakers.setdefault(_key(spec), Breaker(self._limits.breaker))
        breaker.name = spec.name
        breaker.crashed(self._clock(), cause)
        logger.warning("event=crash model=%s breaker=%s kind=%s cause=%r", spec.name, breaker.state, kind, cause)
        if breaker.state is BreakerState.OPEN:
            seconds = breaker.wait_seconds(self._clock())
            logger.error("event=breaker_open model=%s seconds=%.0f cause=%r", spec.name, seconds, cause)

    def _left_bytes(self) -> float:
        """What runners that have a model do not claim of what they may hold."""
        limit_bytes = self._limits.memory_bytes
        return limit_bytes - sum(server.claimed_bytes for server in self._servers) if limit_bytes else math.inf

    def _is_quiet(self) -> bool:
        return not any(server.is_busy for server in self._servers)


def _key(spec: RunnerSpec) -> Key:
    return (spec.model_path.name, spec.options)


def _breaker_view(key: Key, breaker: Breaker, now: float) -> BreakerView:
    return BreakerView(
        model=breaker.name,
        digest=key[0],
        state=breaker.state,
        crashes=breaker.recent_count(now),
        retry_seconds=breaker.remaining_seconds(now),
        cause=breaker.cause,
    )


def _refusal(breaker: Breaker, now: float) -> Busy | None:
    wait_seconds = breaker.wait_seconds(now)
    if not wait_seconds:
        return None
    return Busy(
        f"The model '{breaker.name}' keeps crashing and is not started again for {wait_seconds:.0f} seconds: "
        f"{breaker.cause}.",
        wait_seconds,
    )
