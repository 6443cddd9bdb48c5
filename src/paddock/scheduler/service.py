"""The scheduler: the one task that owns the state, has decisions made, performs them, and lends leases."""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from paddock.config import Config
from paddock.errors import PaddockError, ServerClosing
from paddock.memory.correction import Seen
from paddock.memory.fit import Supply
from paddock.memory.observed import Observed, peak_of
from paddock.memory.supply import private_bytes
from paddock.protocol import MemoryTerms
from paddock.scheduler import actions, events
from paddock.scheduler.actions import Action
from paddock.scheduler.core import handle, needs_figures
from paddock.scheduler.decision_log import log_decision, name_of
from paddock.scheduler.defaults import machine_of
from paddock.scheduler.events import Event
from paddock.scheduler.history import History, HistoryView
from paddock.scheduler.order import Load, LoadOrder, LoadWish, order, settings_of
from paddock.scheduler.preview import Preview, preview
from paddock.scheduler.runners import Runners
from paddock.scheduler.state import Policy, State
from paddock.scheduler.views import QueueView, ResidentView, place_of, queue_view, view
from paddock.supervisor.model_server import ModelServer, RunnerOptions, RunnerSpec

if TYPE_CHECKING:
    from paddock.store.library import StoredModel

__all__ = ["Lease", "LoadWish", "QueueView", "ResidentView", "Scheduler"]

log = logging.getLogger("paddock.scheduler")

WATCH_SECONDS = 1.0
"""How often the memory is looked at while anything is loaded."""
LOOK_EVERY = 30
"""At so many of these looks runners are asked what they hold: the system alone cannot tell whether it is explained."""


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
        hold: Callable[[StoredModel], AbstractAsyncContextManager[object]] = nullcontext,
        supply: Callable[[], Supply],
        clock: Callable[[], float] = time.monotonic,
        measure: Callable[[int], int] = private_bytes,
        observed: Observed | None = None,
        refused: Callable[[], Mapping[Load, PaddockError]] = dict,
        is_dense_quicker: bool = False,
    ) -> None:
        """`prepare` makes the folder of a model's files, in a thread; `hold` keeps them there while the model loads,
        whatever becomes of it in the store. `measure` gives the bytes a process holds.
        `observed` are the peaks of earlier loads. `refused` tells which loads are not to be tried now, and why.
        `is_dense_quicker`: the CPU computes faster with quantised weights turned into float32."""
        self._refused = refused
        self._is_dense_quicker = is_dense_quicker
        self._observed = observed
        self._config = config
        self._read_supply = supply
        self._clock = clock
        policy = Policy(
            keep_alive_seconds=config.keep_alive_seconds,
            max_loaded_models=config.max_loaded_models,
            max_queue=config.max_queue,
            memory_limit_bytes=config.memory_limit_bytes,
        )
        self._state = State(policy, supply())
        self._history = History()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[Lease]] = {}
        self._ids = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._owner: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._runners = Runners(
            make_server=make_server,
            prepare=prepare,
            hold=hold,
            measure=measure,
            post=self._events.put_nowait,
            clock=clock,
            learn=self._learn,
        )

    async def start(self) -> None:
        """Begin to schedule."""
        self._owner = asyncio.create_task(self._own(), name="scheduler")
        self._watch = asyncio.create_task(self._watch_memory(), name="memory watch")

    async def close(self) -> None:
        """Refuse who waits (ServerClosing), stop every runner, and return when they are gone. Idempotent."""
        if self._owner is None:
            return
        self._events.put_nowait(events.ShutdownAsked(self._clock()))
        await asyncio.shield(self._owner)

    @asynccontextmanager
    async def lease(
        self,
        model: StoredModel,
        wish: LoadWish,
        keep_alive_seconds: float | None = None,
        *,
        takes_slot: bool = True,
        ticket: int | None = None,
        client: str = "",
    ) -> AsyncIterator[Lease]:
        """A lease on the model, loaded if need be. Cancelling gives it, or the place in the queue, back.

        `takes_slot` is False for whoever only wants it to be loaded: it does not wait for those who use it.
        Clients take turns. A `ticket`, to be used once, lets `place` be asked for. Busy, NeverFits, ServerClosing, or
        what the load failed with.
        """
        wanted = self._order(model, wish, self._config)
        async with self.lease_of(
            wanted, keep_alive_seconds, takes_slot=takes_slot, ticket=ticket, client=client
        ) as lease:
            yield lease

    @asynccontextmanager
    async def lease_of(
        self,
        wanted: LoadOrder,
        keep_alive_seconds: float | None = None,
        *,
        takes_slot: bool = True,
        ticket: int | None = None,
        client: str = "",
    ) -> AsyncIterator[Lease]:
        """As `lease`, for what is settled already."""
        if self._owner is None or self._owner.done():
            raise ServerClosing("The server is shutting down: try again when it is back.")
        waiter_id = self.ticket() if ticket is None else ticket
        answer = self._answers[waiter_id] = asyncio.get_running_loop().create_future()
        self._events.put_nowait(
            events.Requested(self._clock(), waiter_id, wanted, keep_alive_seconds, takes_slot, client)
        )
        leave: type[events.Cancelled | events.Released] = events.Cancelled
        try:
            lease = await answer
            leave = events.Released
            yield lease
        finally:
            self._answers.pop(waiter_id, None)
            self._events.put_nowait(leave(self._clock(), waiter_id))

    def ticket(self) -> int:
        """A number for one request for a lease."""
        return next(self._ids)

    def place(self, ticket: int) -> int | None:
        """How many requests for the same model, this one included, wait up to it; None if it does not wait, or only for
        a load that it fits into at once."""
        return place_of(self._state, ticket)

    async def unload(self, key: str) -> None:
        """Let a model go as soon as it is idle. `key` is its digest; one that is not loaded is no error."""
        self._events.put_nowait(events.UnloadAsked(self._clock(), key))

    async def look(self) -> None:
        """Have every runner say anew what it holds, for `residents` to tell. Takes half a second at the most."""
        await self._runners.look()

    def residents(self) -> list[ResidentView]:
        """The runners at this moment. Waits for nothing."""
        now, runners = self._clock(), self._runners
        return [
            view(
                resident,
                waiting=len(self._state.queues.get(resident.key, ())),
                memory=runners.memory(resident.generation),
                pid=runners.pid(resident.generation),
                health=runners.health(resident.generation),
                now=now,
            )
            for resident in self._state.residents.values()
        ]

    def queue(self) -> QueueView:
        """Who waits at this moment."""
        return queue_view(self._state, self._clock())

    def history(self) -> HistoryView:
        """What was done since the start."""
        return self._history.view(self._clock())

    def supply(self) -> Supply:
        """The memory that models may have, as last seen."""
        return self._state.allowed_supply()

    def preview(self, model: StoredModel, wish: LoadWish, parallel: int | None = None) -> Preview:
        """What a load with this wish would need and what would become of it now. Nothing is changed by asking."""
        config = self._config if parallel is None else replace(self._config, num_parallel=parallel)
        return preview(self._state, self._order(model, wish, config), self._clock())

    def _order(self, model: StoredModel, wish: LoadWish, config: Config) -> LoadOrder:
        machine = machine_of(self._state.allowed_supply(), is_dense_quicker=self._is_dense_quicker)

        def seen(options: RunnerOptions) -> Seen | None:
            on_accelerator = machine.runs_on_accelerator(options.num_gpu)
            if self._observed is None:
                return None
            return self._observed.seen(model.digest, settings_of(options), on_accelerator=on_accelerator)

        return order(model, wish, config, machine, seen)

    def _learn(self, loaded: LoadOrder, memory: MemoryTerms) -> None:
        """Keep what a runner held at most, and say how far the foresight was off."""
        settings = settings_of(loaded.options)
        if self._observed and self._observed.learn(loaded.key, memory, settings, loaded.need):
            foreseen = loaded.foreseen_peak(memory)
            peak_bytes = peak_of(memory, loaded.need)
            error = (foreseen.total_bytes / max(1, peak_bytes) - 1) if foreseen else 0.0
            log.info(
                "event=observed model=%s weights=%d runtime=%d peak=%d tokens=%d foreseen=%d error=%+.1f%%",
                *(loaded.name, memory.weights_bytes, memory.runtime_bytes, peak_bytes, memory.most_tokens),
                *(foreseen.total_bytes if foreseen else 0, 100 * error),
            )

    async def _watch_memory(self) -> None:
        """Have the memory looked at regularly while anything is loaded, so that others who take it are noticed."""
        for number in itertools.count(1):
            await asyncio.sleep(WATCH_SECONDS)
            if number % LOOK_EVERY == 0:
                await self._runners.look()
            if self._state.residents:
                self._fire()  # which wants fresh figures, and a fault in reading them ends no more than this look

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
        if self._watch:
            self._watch.cancel()
        for waiter_id in list(self._answers):
            self._refuse(waiter_id, ServerClosing("The server is shutting down: try again when it is back."))

    def _take_in(self, event: Event) -> None:
        todo: list[Action] = []
        self._history.heard(event)
        if needs_figures(self._state, event):
            todo += handle(self._state, self._figures(event.now))
        todo += handle(self._state, event)
        for action in todo:
            self._perform(action)
        self._runners.forget_all_but([resident.generation for resident in self._state.residents.values()])

    def _figures(self, now: float) -> events.MemoryChanged:
        runners = self._runners
        return events.MemoryChanged(
            now, self._supply(), runners.held_bytes(), runners.drift_bytes(), dict(self._refused())
        )

    def _supply(self) -> Supply:
        try:
            return self._read_supply()
        except OSError as error:
            log.warning("event=supply_unreadable error=%s", error)
            return self._state.supply

    def _perform(self, action: Action) -> None:
        log_decision(log, self._state, action)
        if not isinstance(action, actions.ArmTimer):
            self._history.performed(self._clock(), name_of(self._state, action.key), action)
        match action:
            case actions.StartRunner():
                self._runners.start(action)
            case actions.StopRunner():
                self._runners.stop(action)
            case actions.ShrinkCaches():
                self._runners.shrink(action)
            case actions.Grant():
                self._lend(action)
            case actions.Reject(waiter_id, _, error, _):
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
