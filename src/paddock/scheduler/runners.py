"""Performs what was decided about runners: each from its start to its end, which is told exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paddock.errors import LoadFailed, PaddockError
from paddock.memory.devices import devices as all_devices
from paddock.memory.devices import system_memory
from paddock.memory.supply import devices_for, placement
from paddock.protocol import Health, MemoryTerms
from paddock.scheduler import events
from paddock.scheduler.actions import ShrinkCaches, StartRunner, StopRunner
from paddock.scheduler.events import Event
from paddock.scheduler.order import LoadOrder
from paddock.scheduler.recycle import drift_bytes
from paddock.store.views import draft_view
from paddock.supervisor.model_server import MemorySize, ModelServer, RunnerSpec

if TYPE_CHECKING:
    from paddock.store.library import StoredModel

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""How long all runners together have to say what they hold; who says nothing is shown as last seen."""

COLLECT_SECONDS = 1.0
"""From the end of a runner to the collection of what it leaves: its connections end a little after it."""


@dataclass
class _Runner:
    action: StartRunner
    server: ModelServer | None = None
    memory: MemorySize | None = None
    ready_terms: MemoryTerms | None = None
    """What it said of its memory when it was ready."""
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
        hold: Callable[[StoredModel], AbstractAsyncContextManager[object]],
        measure: Callable[[int], int],
        post: Callable[[Event], None],
        clock: Callable[[], float],
        learn: Callable[[LoadOrder, MemoryTerms], None] = lambda _order, _memory: None,
    ) -> None:
        """`learn` is told what a runner says of its memory: when it is ready, when it is looked at, before it ends."""
        self._learn = learn
        self._make_server = make_server
        self._prepare = prepare
        self._hold = hold
        self._measure = measure
        self._post = post
        self._clock = clock
        self._runners: dict[int, _Runner] = {}
        self._asides: set[asyncio.Task[None]] = set()

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

    def shrink(self, action: ShrinkCaches) -> None:
        """Ask a runner for its caches. Nobody waits for what becomes of it."""
        server = self._runners[action.generation].server
        if server and not server.has_exited:
            task = asyncio.create_task(self._shrink(action, server), name=f"shrink of runner {action.generation}")
            self._asides.add(task)
            task.add_done_callback(self._asides.discard)

    async def _shrink(self, action: ShrinkCaches, server: ModelServer) -> None:
        name = self._runners[action.generation].action.order.name
        try:
            freed_bytes = await server.shrink_caches(action.keep_bytes)
        except PaddockError as error:
            log.info("event=shrink_failed model=%s why=%r", name, error.message)
        else:
            log.info("event=shrunk model=%s generation=%d freed=%d", name, action.generation, freed_bytes)

    async def look(self) -> None:
        """Have every runner say anew what it holds and does, as far as each can within a moment."""
        running = [runner for runner in self._runners.values() if runner.server and not runner.server.has_exited]
        looks = [asyncio.create_task(self._look(runner)) for runner in running]
        if looks:
            _, late = await asyncio.wait(looks, timeout=LOOK_SECONDS)
            for look in late:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)

    async def _look(self, runner: _Runner) -> None:
        assert runner.server is not None
        memory = await runner.server.memory_size()
        if runner.memory is not None:  # it is ready
            runner.memory = memory
            self._learn_from(runner)

    def _learn_from(self, runner: _Runner) -> None:
        health = runner.server.last_health if runner.server else None
        if health and health.memory.weights_bytes:
            self._learn(runner.action.order, health.memory)

    async def _look_once_more(self, runner: _Runner) -> None:
        """Before it ends: what its last requests took is worth knowing, but not worth waiting for."""
        if runner.server and runner.memory and not runner.server.has_exited:
            with contextlib.suppress(TimeoutError, PaddockError):
                await asyncio.wait_for(self._look(runner), LOOK_SECONDS)

    def forget_all_but(self, generations: Collection[int]) -> None:
        """Let go of runners whose end was not only told but also heard.

        What is left of one refers to itself: a task, the exception that ended it, the frames that this went through,
        and from there its connections and the tail of its output. It is collected once the last of its tasks is over
        rather than whenever: server memory that waits for a collection is not used again and makes the server grow.
        """
        gone = self._runners.keys() - set(generations)
        for generation in gone:
            del self._runners[generation]
        if gone:
            asyncio.get_running_loop().call_later(COLLECT_SECONDS, gc.collect)

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
        """What it last said that it holds, at the latest when it became ready."""
        runner = self._runners.get(generation)
        return runner.memory if runner else None

    def health(self, generation: int) -> Health | None:
        """What it last said of itself."""
        runner = self._runners.get(generation)
        return runner.server.last_health if runner and runner.server else None

    def held_bytes(self) -> dict[int, int]:
        """What the processes are seen to hold, by generation."""
        return {generation: self._measure(self.pid(generation)) for generation in self._runners}

    def drift_bytes(self) -> dict[int, int]:
        """What they have taken since they were ready and nothing explains, by generation, as last heard."""
        return {
            generation: drift_bytes(runner.ready_terms, health.memory)
            for generation, runner in self._runners.items()
            if runner.ready_terms and (health := self.health(generation))
        }

    async def _live(self, runner: _Runner) -> str:
        """Load, tell that it is ready, and return the reason once the process has ended by itself."""
        order, action = runner.action.order, runner.action
        async with contextlib.nullcontext() if order.folder else self._hold(order.model):
            server = await self._loaded(runner)
        runner.memory = await server.memory_size()
        runner.ready_terms = server.last_health.memory if server.last_health else None
        self._learn_from(runner)
        held_bytes = self._held_when_ready(server.pid, runner.memory)
        self._post(events.Ready(self._clock(), action.key, action.generation, held_bytes))
        return await server.wait_exited()

    async def _loaded(self, runner: _Runner) -> ModelServer:
        order, action = runner.action.order, runner.action
        model_path = order.folder
        if model_path is None:
            model_path = await asyncio.to_thread(self._prepare, order.model)
        spec = RunnerSpec(
            name=order.name,
            engine=order.model.facts.engine,
            model_path=model_path,
            options=order.options,
            draft_path=draft_view(model_path) if order.options.speculates else None,
            environment=placement(action.pool_id, all_devices()),
            memory_limit_bytes=order.need.total_bytes - order.need.runtime_bytes,
            runners=action.runners,
        )
        server = runner.server = self._make_server(spec)
        devices = devices_for(action.pool_id, wants_accelerator=order.options.num_gpu != 0)
        await server.load(system_memory(), devices, action.require_full)
        await server.wait_until_running()
        return server

    def _held_when_ready(self, pid: int, memory: MemorySize) -> int:
        """What is missing from its pool: in main memory what the system says it alone holds, since what it says itself
        counts pages that it shares."""
        return memory.device_bytes or self._measure(pid) or memory.total_bytes

    async def _end(self, runner: _Runner, life: asyncio.Task[str]) -> None:
        """When its life is over, whichever way, close it and tell. Nothing interrupts this."""
        await asyncio.wait({life})
        await self._look_once_more(runner)
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
