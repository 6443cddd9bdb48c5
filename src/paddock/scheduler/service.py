"""The scheduler: the one task that owns the state, has decisions made, performs them, and lends leases."""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from paddock.config import Config
from paddock.errors import PaddockError, ServerClosing
from paddock.memory.fit import Supply
from paddock.memory.supply import private_bytes
from paddock.scheduler import actions, events
from paddock.scheduler.actions import Action
from paddock.scheduler.core import handle, needs_figures
from paddock.scheduler.events import Event
from paddock.scheduler.order import LoadWish, order
from paddock.scheduler.runners import Runners
from paddock.scheduler.state import Policy, State
from paddock.scheduler.views import ResidentView, view
from paddock.supervisor.model_server import ModelServer, RunnerSpec

if TYPE_CHECKING:
    from paddock.store.library import StoredModel

__all__ = ["Lease", "LoadWish", "ResidentView", "Scheduler"]

log = logging.getLogger("paddock.scheduler")


@dataclass(frozen=True)
class Lease:
    """The right to use a loaded model, until the context ends."""

    server: ModelServer
    context_length: int
    """Tokens that one sequence may hold."""
    load_duration_ns: int
    """Waited for the model; 0 if it was there."""


class Scheduler:
    """Which models are loaded, and who may use them. `start` and `close` once each; all else from the same loop."""

    def __init__(
        self,
        *,
        config: Config,
        make_server: Callable[[RunnerSpec], ModelServer],
        prepare: Callable[[StoredModel], Path],
        supply: Callable[[], Supply],
        clock: Callable[[], float] = time.monotonic,
        measure: Callable[[int], int] = private_bytes,
    ) -> None:
        """`prepare` makes the folder of a model's files, in a thread. `measure` gives the bytes a process holds."""
        self._config = config
        self._read_supply = supply
        self._clock = clock
        policy = Policy(config.keep_alive_seconds, config.max_loaded_models, config.max_queue)
        self._state = State(policy, supply())
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[Lease]] = {}
        self._ids = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._owner: asyncio.Task[None] | None = None
        self._runners = Runners(
            make_server=make_server, prepare=prepare, measure=measure, post=self._events.put_nowait, clock=clock
        )

    async def start(self) -> None:
        """Begin to schedule."""
        self._owner = asyncio.create_task(self._own(), name="scheduler")

    async def close(self) -> None:
        """Refuse who waits (ServerClosing), stop every runner, and return when they are gone. Idempotent."""
        if self._owner is None:
            return
        self._events.put_nowait(events.ShutdownAsked(self._clock()))
        await asyncio.shield(self._owner)

    @asynccontextmanager
    async def lease(
        self, model: StoredModel, wish: LoadWish, keep_alive_seconds: float | None = None
    ) -> AsyncIterator[Lease]:
        """A lease on the model, loaded if need be. Cancelling gives it, or the place in the queue, back.

        Busy, NeverFits, ServerClosing, or what the load failed with.
        """
        if self._owner is None or self._owner.done():
            raise ServerClosing("The server is shutting down: try again when it is back.")
        wanted = order(model, wish, self._config, has_accelerator=self._state.supply.has_accelerator)
        waiter_id = next(self._ids)
        answer = self._answers[waiter_id] = asyncio.get_running_loop().create_future()
        self._events.put_nowait(events.Requested(self._clock(), waiter_id, wanted, keep_alive_seconds))
        leave: type[events.Cancelled | events.Released] = events.Cancelled
        try:
            lease = await answer
            leave = events.Released
            yield lease
        finally:
            self._answers.pop(waiter_id, None)
            self._events.put_nowait(leave(self._clock(), waiter_id))

    async def unload(self, key: str) -> None:
        """Let a model go as soon as it is idle. `key` is its digest; one that is not loaded is no error."""
        self._events.put_nowait(events.UnloadAsked(self._clock(), key))

    def residents(self) -> list[ResidentView]:
        """The runners at this moment. Waits for nothing."""
        now = self._clock()
        return [
            view(resident, self._runners.memory(resident.generation), self._runners.pid(resident.generation), now)
            for resident in self._state.residents.values()
        ]

    async def _own(self) -> None:
        """Take in events until the server is to close and the last runner is gone."""
        while not self._state.is_closing or self._state.residents:
            event = await self._events.get()
            try:
                self._take_in(event)
            except Exception:
                # A fault over one event must not end the scheduling of all others.
                log.exception("event=decision_crashed about=%r", event)
                if isinstance(event, events.Requested):
                    self._refuse(event.waiter_id, PaddockError("The scheduler failed: see the server's log."))
        if self._timer:
            self._timer.cancel()
        for waiter_id in list(self._answers):
            self._refuse(waiter_id, ServerClosing("The server is shutting down: try again when it is back."))

    def _take_in(self, event: Event) -> None:
        todo: list[Action] = []
        if needs_figures(self._state, event):
            figures = events.MemoryChanged(event.now, self._supply(), self._runners.held_bytes())
            todo += handle(self._state, figures)
        todo += handle(self._state, event)
        for action in todo:
            self._perform(action)
        self._runners.forget_all_but([resident.generation for resident in self._state.residents.values()])

    def _supply(self) -> Supply:
        try:
            return self._read_supply()
        except OSError as error:
            log.warning("event=supply_unreadable error=%s", error)
            return self._state.supply

    def _perform(self, action: Action) -> None:
        _log(self._state, action)
        match action:
            case actions.StartRunner():
                self._runners.start(action)
            case actions.StopRunner():
                self._runners.stop(action)
            case actions.Grant():
                self._lend(action)
            case actions.Reject(waiter_id, _, error):
                self._refuse(waiter_id, error)
            case actions.ArmTimer(at):
                self._arm(at)
            case actions.Postpone():
                pass
            case _:
                assert_never(action)

    def _lend(self, grant: actions.Grant) -> None:
        """Whoever went away in the meantime has posted so, and the decisions will hear of it."""
        answer = self._answers.get(grant.waiter_id)
        if answer and not answer.done():
            server = self._runners.server(grant.generation)
            answer.set_result(Lease(server, server.context_length, round(grant.waited_seconds * 1e9)))

    def _refuse(self, waiter_id: int, error: PaddockError) -> None:
        """With an exception of the waiter's own: a shared one would collect the tracebacks of all."""
        answer = self._answers.get(waiter_id)
        if answer and not answer.done():
            answer.set_exception(copy.copy(error))

    def _arm(self, at: float) -> None:
        if self._timer:
            self._timer.cancel()
        delay_seconds = max(0.0, at - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay_seconds, self._fire)

    def _fire(self) -> None:
        self._events.put_nowait(events.TimerFired(self._clock()))


def _log(state: State, action: Action) -> None:
    """One line for each decision, with its reason."""
    match action:
        case actions.StartRunner(key, generation, wanted, pool_id, _, why):
            log.info(
                "event=start model=%s key=%.12s generation=%d pool=%s num_ctx=%d need=%d why=%r",
                *(wanted.name, key, generation, pool_id, wanted.options.num_ctx, wanted.need.total_bytes, why),
            )
        case actions.StopRunner(key, generation, why):
            log.info("event=stop model=%s key=%.12s generation=%d why=%r", _name(state, key), key, generation, why)
        case actions.Postpone(waiter_id, key, why):
            log.info("event=postpone waiter=%d key=%.12s why=%r", waiter_id, key, why)
        case actions.Reject(waiter_id, key, error):
            log.info("event=reject waiter=%d key=%.12s code=%s why=%r", waiter_id, key, error.code, error.message)
        case actions.Grant(waiter_id, key, generation, waited_seconds):
            log.debug(
                "event=grant waiter=%d key=%.12s generation=%d waited=%.3f", waiter_id, key, generation, waited_seconds
            )
        case actions.ArmTimer():
            pass


def _name(state: State, key: str) -> str:
    resident = state.residents.get(key)
    return resident.order.name if resident else key
