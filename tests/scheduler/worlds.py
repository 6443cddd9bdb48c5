"""What the scheduler's tests are made of: models, orders, and a world that plays the machine to the pure core."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

from paddock.config import Config
from paddock.errors import PaddockError
from paddock.memory.estimate import Need
from paddock.memory.fit import Pool, Supply
from paddock.scheduler import events
from paddock.scheduler.actions import Action, ArmTimer, Grant, Postpone, Reject, StartRunner, StopRunner
from paddock.scheduler.core import handle
from paddock.scheduler.defaults import Machine
from paddock.scheduler.order import LoadOrder, LoadWish, order
from paddock.scheduler.state import Lifecycle, Policy, Resident, State
from paddock.store.facts import ModelFacts
from paddock.store.library import StoredModel
from paddock.store.manifest import Layer, Manifest
from paddock.store.names import ModelName

GB = 1_000_000_000
KEEP_ALIVE = 300.0

AnyAction = TypeVar("AnyAction", bound=Action)


def stored_model(
    name: str = "tiny", digest: str = "", context_length: int = 32768, size_gb: float = 1.0
) -> StoredModel:
    """A model that exists only here; its digest follows from its name unless given."""
    facts = ModelFacts(
        engine="text",
        family="llama",
        families=("llama",),
        parameter_count=1000,
        parameter_size="1K",
        quantization_level="int4",
        context_length=context_length,
        embedding_length=64,
        weights_bytes=int(size_gb * GB),
        capabilities=("completion",),
        block_count=2,
        head_count_kv=1,
        head_dim=64,
    )
    return StoredModel(
        name=ModelName.parse(name),
        digest=digest or f"digest-of-{name}",
        size_bytes=facts.weights_bytes,
        modified_at=datetime(2026, 1, 1, tzinfo=UTC),
        facts=facts,
        parameters={},
        system="",
        template="",
        licenses=(),
        messages=(),
        parent_model="",
        manifest=Manifest(Layer("config", "sha256:" + "0" * 64, 2), ()),
    )


def an_order(name: str, size_gb: float = 1.0, **fixed: int) -> LoadOrder:
    """An order of exactly this size for the model of this name (which is its key)."""
    made = order(stored_model(name, digest=name), LoadWish(**fixed), Config(), Machine())
    need = Need(int(size_gb * GB), 0, 0, 0)
    return replace(made, need=need, need_of=lambda _: need)


def a_policy(**settings: int) -> Policy:
    """A policy under which runners take as many requests as come, unless the settings say otherwise."""
    return Policy(KEEP_ALIVE, **{"lookahead": 1_000_000, **settings})


def supply_of(free_gb: float, total_gb: float = 64.0, reserve_gb: float = 0.0) -> Supply:
    """One pool of main memory."""
    pool = Pool("cpu", int(total_gb * GB), int(free_gb * GB), has_accelerator=False, has_cpu=True)
    return Supply((pool,), int(reserve_gb * GB))


@dataclass
class World:
    """A machine in figures and a clock. Runners hold what they need once ready, and give it back when stopped.

    `has_slow_memory`: what stopped runners held is not shown as free until `return_memory`.
    """

    free_gb: float = 16.0
    policy: Policy = field(default_factory=lambda: a_policy())
    has_slow_memory: bool = False

    def __post_init__(self) -> None:
        self.now = 1000.0
        self.state = State(self.policy, supply_of(self.free_gb))
        self.actions: list[Action] = []
        self._next_id = 1
        self._unreturned_gb = 0.0

    # events

    def request(self, name: str, size_gb: float = 1.0, keep_alive: float | None = None, **fixed: int) -> int:
        """A request; returns the waiter's id."""
        return self.request_order(an_order(name, size_gb, **fixed), keep_alive)

    def request_order(self, wanted: LoadOrder, keep_alive: float | None = None) -> int:
        """The same with an order of its own making."""
        waiter_id = self._next_id
        self._next_id += 1
        self.send(events.Requested(self.now, waiter_id, wanted, keep_alive))
        return waiter_id

    def cancel(self, waiter_id: int) -> None:
        self.send(events.Cancelled(self.now, waiter_id))

    def release(self, *waiter_ids: int) -> None:
        for waiter_id in waiter_ids:
            self.send(events.Released(self.now, waiter_id))

    def unload(self, name: str) -> None:
        self.send(events.UnloadAsked(self.now, name))

    def shut_down(self) -> None:
        self.send(events.ShutdownAsked(self.now))

    def ready(self, name: str) -> None:
        """The load of this model ends well."""
        resident = self.state.residents[name]
        held_gb = resident.order.need.total_bytes / GB
        self.free_gb -= held_gb
        held = {resident.generation: int(held_gb * GB)}
        self.send(events.MemoryChanged(self.now, supply_of(self.free_gb), held))
        self.send(events.Ready(self.now, name, resident.generation, int(held_gb * GB)))

    def fail(self, name: str, error: PaddockError) -> None:
        self.send(events.LoadFailed(self.now, name, self.state.residents[name].generation, error))

    def exit(self, name: str) -> None:
        resident = self.state.residents[name]
        self.free_gb += resident.held_bytes / GB
        self.send(events.Exited(self.now, name, resident.generation, "It was killed."))

    def stopped(self, name: str) -> None:
        """The runner that was asked to stop is gone."""
        resident = self.state.residents[name]
        if self.has_slow_memory:
            self._unreturned_gb += resident.held_bytes / GB
        else:
            self.free_gb += resident.held_bytes / GB
        self.tell_memory()
        self.send(events.Stopped(self.now, name, resident.generation))

    def return_memory(self, share: float = 1.0) -> None:
        """The system shows this share of the slow memory as free."""
        self.free_gb += self._unreturned_gb * share
        self._unreturned_gb -= self._unreturned_gb * share
        self.tell_memory()

    def wait(self, seconds: float) -> None:
        """Let time pass; the timer fires whenever it was armed for."""
        end = self.now + seconds
        while self.state.timer_at is not None and self.state.timer_at <= end:
            self.now = max(self.now, self.state.timer_at)
            self.tell_memory()
            self.send(events.TimerFired(self.now))
        self.now = end

    def tell_memory(self) -> None:
        self.send(events.MemoryChanged(self.now, supply_of(self.free_gb)))

    def send(self, event: events.Event) -> list[Action]:
        found = handle(self.state, event)
        self.actions += found
        return found

    # what is to be seen

    def load(self, name: str, size_gb: float = 1.0, keep_alive: float | None = None, **fixed: int) -> int:
        """A request whose load ends at once; returns the lease."""
        waiter_id = self.request(name, size_gb, keep_alive, **fixed)
        if self.lifecycle(name) is Lifecycle.LOADING:
            self.ready(name)
        assert self.is_granted(waiter_id), f"{name} was not granted: {self.actions}"
        return waiter_id

    def load_idle(self, name: str, size_gb: float = 1.0, keep_alive: float | None = None, **fixed: int) -> None:
        self.release(self.load(name, size_gb, keep_alive, **fixed))

    def of(self, kind: type[AnyAction]) -> list[AnyAction]:
        return [action for action in self.actions if isinstance(action, kind)]

    def is_granted(self, waiter_id: int) -> bool:
        return any(grant.waiter_id == waiter_id for grant in self.of(Grant))

    def error_of(self, waiter_id: int) -> PaddockError | None:
        return next((reject.error for reject in self.of(Reject) if reject.waiter_id == waiter_id), None)

    def is_waiting(self, waiter_id: int) -> bool:
        return any(waiter.id == waiter_id for queue in self.state.queues.values() for waiter in queue)

    def started(self) -> list[str]:
        return [start.key for start in self.of(StartRunner)]

    def stops(self) -> list[str]:
        return [stop.key for stop in self.of(StopRunner)]

    def postponed(self) -> list[str]:
        return [postpone.why for postpone in self.of(Postpone)]

    def timers(self) -> list[float]:
        return [timer.at for timer in self.of(ArmTimer)]

    def resident(self, name: str) -> Resident:
        return self.state.residents[name]

    def lifecycle(self, name: str) -> Lifecycle | None:
        resident = self.state.residents.get(name)
        return resident.lifecycle if resident else None
