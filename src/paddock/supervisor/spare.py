"""The warm spare: one runner process with its imports behind it and no model, for the next load to take."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import PaddockError
from paddock.memory.devices import SystemMemory, system_memory
from paddock.memory.supply import private_bytes
from paddock.supervisor.breaker import Breaker, BreakerLimits
from paddock.supervisor.environment import runner_environment
from paddock.supervisor.host import RunnerHost
from paddock.supervisor.model_server import RunnerOptions, RunnerSpec
from paddock.supervisor.process import RunnerProcess
from paddock.supervisor.views import SpareState, SpareView

logger = logging.getLogger(__name__)

_SPARE_SPEC = RunnerSpec(name="the warm spare", engine="", model_path=Path(), options=RunnerOptions(num_ctx=0))


@dataclass(frozen=True)
class SpareLimits:
    """When there is a spare."""

    is_wanted: bool = True
    start_share: float = 0.15
    """Share of the main memory that must be available to start one, and at least `start_bytes` …"""
    start_bytes: int = 2 * 1024**3
    end_share: float = 0.05
    """… and the share below which it is given up."""
    end_bytes: int = 512 * 1024**2
    size_bytes: int = 512 * 1024**2
    """Where the memory of all runners is limited, so much of it must be left over to start one: more than one takes."""
    quiet_seconds: float = 1.0
    """How long the runners must have had nothing to do before one is started."""
    longest_wait_seconds: float = 20.0
    """Without quiet for so long, one is started all the same: its imports run at a low priority."""
    look_seconds: float = 0.25

    def allows_start(self, memory: SystemMemory, left_bytes: float) -> bool:
        """Whether there is room for one: in the machine's memory, and in what runners are allowed and do not claim."""
        is_ample = memory.available_bytes >= max(self.start_bytes, self.start_share * memory.total_bytes)
        return is_ample and left_bytes >= self.size_bytes

    def demands_end(self, memory: SystemMemory, left_bytes: float, held_bytes: int) -> bool:
        """Whether memory is so short that one which holds so much must go."""
        is_short = memory.available_bytes < max(self.end_bytes, self.end_share * memory.total_bytes)
        return is_short or left_bytes < held_bytes


class WarmSpare:
    """Keeps one spare ready. One task owns it; a load takes it away in between."""

    def __init__(
        self,
        host: RunnerHost,
        limits: SpareLimits,
        is_quiet: Callable[[], bool],
        memory: Callable[[], SystemMemory] = system_memory,
        left_bytes: Callable[[], float] = lambda: math.inf,
        measure: Callable[[int], int] = private_bytes,
    ) -> None:
        """`left_bytes` is what the runners do not claim of what they may hold together. `measure` gives the bytes that
        a process holds."""
        self._left_bytes = left_bytes
        self._measure = measure
        self._host = host
        self._limits = limits
        self._is_quiet = is_quiet
        self._memory = memory
        self._process: RunnerProcess | None = None
        self._breaker = Breaker(BreakerLimits())
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """-1 while there is none."""
        return -1 if self._process is None else self._process.pid

    def view(self) -> SpareView:
        """How it is now."""
        if not self._limits.is_wanted:
            return SpareView(SpareState.OFF)
        if self.pid < 0:
            return SpareView(SpareState.ABSENT)
        return SpareView(SpareState.PRESENT, self._measure(self.pid))

    def start(self) -> None:
        """Begin to keep one, on the running loop."""
        if self._limits.is_wanted:
            self._keeping = asyncio.get_running_loop().create_task(self._keep(), name="warm spare")

    def take(self, spec: RunnerSpec) -> RunnerProcess | None:
        """The spare, if there is one and what is fixed for a whole process is as the spec wants it."""
        process = self._process
        if process is None or process.pid < 0 or not self._suits(process, spec):
            return None
        self._process = None
        return process

    async def close(self) -> None:
        """End it, and keep none from here on."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        await self._give_up()

    def _suits(self, process: RunnerProcess, spec: RunnerSpec) -> bool:
        """Threads and other variables are read when libraries are imported; so is where a model may not go."""
        wanted = runner_environment(self._host.environment, spec.environment, spec.options.num_thread)
        return process.environment == wanted and spec.options.num_gpu == _SPARE_SPEC.options.num_gpu

    async def _keep(self) -> None:
        while True:
            await self._wait_until_wanted()
            try:
                process = self._process = RunnerProcess(_SPARE_SPEC, self._host, is_spare=True)
            except PaddockError as error:
                self._breaker.crashed(time.monotonic(), error.message)
                continue
            logger.debug("event=spare_started pid=%d", process.pid)
            self._breaker.ready(time.monotonic())
            await self._watch(process)

    async def _wait_until_wanted(self) -> None:
        """Until the runners have been quiet for a while, there is room, and spares are not known to crash."""
        began = quiet_since = time.monotonic()
        while True:
            now = time.monotonic()
            quiet_since = quiet_since if self._is_quiet() else now
            is_time = (
                now - quiet_since >= self._limits.quiet_seconds or now - began >= self._limits.longest_wait_seconds
            )
            if is_time and not self._breaker.wait_seconds(now) and self._has_room():
                return
            await asyncio.sleep(self._limits.look_seconds)

    def _has_room(self) -> bool:
        return self._limits.allows_start(self._memory(), self._left_bytes())

    async def _watch(self, process: RunnerProcess) -> None:
        """Until it is taken, has ended, or must go."""
        while self._process is process:
            try:
                report = await process.wait_gone(self._limits.look_seconds)
            except TimeoutError:
                if self._limits.demands_end(self._memory(), self._left_bytes(), self._measure(process.pid)):
                    logger.info("event=spare_given_up why='memory is short'")
                    await self._give_up()
                continue
            if self._process is process:
                self._process = None
                self._breaker.crashed(time.monotonic(), report.reason)

    async def _give_up(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it has nothing to finish
            await process.stop()
