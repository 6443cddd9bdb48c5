"""Performs what was decided about runners: each from its start to its end, which is told exactly once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paddock.errors import LoadFailed, PaddockError
from paddock.memory.devices import system_memory
from paddock.memory.supply import devices_for
from paddock.scheduler import events
from paddock.scheduler.actions import StartRunner, StopRunner
from paddock.scheduler.events import Event
from paddock.supervisor.model_server import MemorySize, ModelServer, RunnerSpec

if TYPE_CHECKING:
    from paddock.store.library import StoredModel

log = logging.getLogger(__name__)


@dataclass
class _Runner:
    action: StartRunner
    server: ModelServer | None = None
    memory: MemorySize | None = None
    tasks: tuple[asyncio.Task[str], asyncio.Task[None]] | None = None
    """Its life, which can be cut short, and its end, which cannot."""
    is_stop_asked: bool = False
    is_end_told: bool = False


class Runners:
    """The model servers that exist now, by generation. It decides nothing and reports every end as an event."""

    def __init__(
        self,
        *,
        make_server: Callable[[RunnerSpec], ModelServer],
        prepare: Callable[[StoredModel], Path],
        measure: Callable[[int], int],
        post: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        self._make_server = make_server
        self._prepare = prepare
        self._measure = measure
        self._post = post
        self._clock = clock
        self._runners: dict[int, _Runner] = {}

    def start(self, action: StartRunner) -> None:
        """Begin a load; Ready or LoadFailed is posted when it ends, and Exited when the runner does."""
        runner = _Runner(action)
        self._runners[action.generation] = runner
        life = asyncio.create_task(self._live(runner), name=f"life of runner {action.generation}")
        end = asyncio.create_task(self._end(runner, life), name=f"end of runner {action.generation}")
        runner.tasks = (life, end)

    def stop(self, action: StopRunner) -> None:
        """End a runner, loading or not; Stopped is posted when it is gone, also if it has just ended by itself."""
        runner = self._runners[action.generation]
        runner.is_stop_asked = True
        if runner.is_end_told:
            self._post(events.Stopped(self._clock(), action.key, action.generation))
        elif runner.tasks:
            runner.tasks[0].cancel()

    def forget_all_but(self, generations: Collection[int]) -> None:
        """Let go of runners whose end was not only told but also heard."""
        for generation in self._runners.keys() - set(generations):
            del self._runners[generation]

    def server(self, generation: int) -> ModelServer:
        """The server of a runner that became ready; it may have ended since, and then says so to whoever uses it."""
        server = self._runners[generation].server
        assert server is not None, "a runner is ready only with a server"
        return server

    def pid(self, generation: int) -> int:
        """Its process, or -1."""
        runner = self._runners.get(generation)
        return runner.server.pid if runner and runner.server else -1

    def memory(self, generation: int) -> MemorySize | None:
        """What it said that it held when it became ready."""
        runner = self._runners.get(generation)
        return runner.memory if runner else None

    def held_bytes(self) -> dict[int, int]:
        """What the processes are seen to hold, by generation."""
        return {generation: self._measure(self.pid(generation)) for generation in self._runners}

    async def _live(self, runner: _Runner) -> str:
        """Load, tell that it is ready, and return the reason once the process has ended by itself."""
        order, action = runner.action.order, runner.action
        model_path = await asyncio.to_thread(self._prepare, order.model)
        spec = RunnerSpec(order.name, order.model.facts.engine, model_path, order.options)
        server = runner.server = self._make_server(spec)
        devices = devices_for(action.pool_id, wants_accelerator=order.options.num_gpu != 0)
        await server.load(system_memory(), devices, action.require_full)
        await server.wait_until_running()
        runner.memory = await server.memory_size()
        self._post(events.Ready(self._clock(), action.key, action.generation, runner.memory.total_bytes))
        return await server.wait_exited()

    async def _end(self, runner: _Runner, life: asyncio.Task[str]) -> None:
        """When its life is over, whichever way, close it and tell. Nothing interrupts this."""
        await asyncio.wait({life})
        if runner.server:
            (failure,) = await asyncio.gather(runner.server.close(), return_exceptions=True)
            if failure:
                log.error("event=close_failed model=%s", runner.action.order.name, exc_info=failure)
        runner.is_end_told = True
        self._post(self._outcome(runner, life))

    def _outcome(self, runner: _Runner, life: asyncio.Task[str]) -> Event:
        now, key, generation = self._clock(), runner.action.key, runner.action.generation
        if runner.is_stop_asked or life.cancelled():
            return events.Stopped(now, key, generation)
        error = life.exception()
        if error is None:
            return events.Exited(now, key, generation, life.result())
        if not isinstance(error, PaddockError):
            name = runner.action.order.name
            log.error("event=load_crashed model=%s generation=%d", name, generation, exc_info=error)
            error = LoadFailed(f"Model '{name}' could not be loaded: see the server's log.")
        return events.LoadFailed(now, key, generation, error)
