"""The scheduler's state: who is resident, who waits, whose memory is on its way back. No decisions are made here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from paddock.errors import PaddockError
from paddock.memory.fit import Holding, MustWait, Standing, Supply
from paddock.scheduler.limit import limited
from paddock.scheduler.order import Load, LoadOrder

RETURN_SHARE = 0.75
"""Of the memory that a stopped runner held: once this much is back, a load no longer waits for the rest."""
RETURN_SECONDS = 5.0
"""And no longer than this."""


class Lifecycle(Enum):
    """Of a resident: a runner from its start to its end."""

    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"
    GONE = "gone"


TRANSITIONS: Mapping[Lifecycle, frozenset[Lifecycle]] = {
    Lifecycle.LOADING: frozenset({Lifecycle.READY, Lifecycle.STOPPING, Lifecycle.GONE}),
    Lifecycle.READY: frozenset({Lifecycle.STOPPING, Lifecycle.GONE}),
    Lifecycle.STOPPING: frozenset({Lifecycle.GONE}),
    Lifecycle.GONE: frozenset(),
}
"""Ready or failed, stopped or exited, gone: never back. A model that is wanted again gets a new generation."""


@dataclass(frozen=True)
class Policy:
    """The settings that decisions depend on."""

    keep_alive_seconds: float = 300.0
    max_loaded_models: int = 0
    """0 leaves it to memory."""
    max_queue: int = 512
    max_overtaken: int = 16
    """How often others may be served at a waiter's expense before it goes first."""
    lookahead: int = 1
    """Requests that a runner is given beyond those that it serves at once, so that it never waits for the next."""
    memory_limit_bytes: int = 0
    """What all runners together may hold of each pool; 0 for what there is."""
    settled_seconds: float = 3600.0
    """Since its load, before it counts that a runner's footprint drifts: libraries fill their buffers with the first
    requests. So a model is loaded anew at most once in this time, even where those buffers are large."""


@dataclass
class Waiter:
    """A request that has no lease yet."""

    id: int
    sequence: int
    """Rises with each request: the smaller, the longer it waits."""
    order: LoadOrder
    keep_alive_seconds: float | None
    since: float
    takes_slot: bool = True
    client: str = ""
    turn: int = 0
    """Those of one queue never fall; no client has two requests with the same."""
    overtaken: int = 0
    """Later requests for other models that were served at its expense."""
    postponed: MustWait | None = None
    """Why its model is not loaded yet, if that is for others to change."""

    @property
    def key(self) -> str:
        """The model that it waits for."""
        return self.order.key

    @property
    def blocked_by(self) -> frozenset[str]:
        """Models that must come to rest before its own can be loaded."""
        return self.postponed.until if self.postponed else frozenset()


@dataclass
class Resident:
    """A runner, and who uses it."""

    key: str
    generation: int
    order: LoadOrder
    pool_id: str
    keep_alive_seconds: float
    idle_since: float
    """When its last request ended, or when it was started."""
    lifecycle: Lifecycle = Lifecycle.LOADING
    leases: set[int] = field(default_factory=set)
    visits: set[int] = field(default_factory=set)
    """Those of the leases that give it nothing to do."""
    is_retry: bool = False
    """Whether it is the second attempt after memory ran out in the first: there is no third."""
    held_bytes: int = 0
    ready_bytes: int = 0
    """What it held when it became ready, by its own account."""
    ready_since: float = math.inf
    drift_bytes: int = 0
    """What it has taken since then that neither its model nor its caches explain."""
    ready_sequence: int = 0
    """Requests before this one waited for its load and fit into it at once: they are served whoever else waits, so
    that no load is for nothing."""
    unwanted_since: float | None = None
    """Since when it loads for nobody."""
    room_before: int = 0
    """The room for models in its pool when its end began."""

    def move(self, to: Lifecycle) -> None:
        """Enter the next state of life."""
        assert to in TRANSITIONS[self.lifecycle], f"{self.key}: {self.lifecycle} -> {to}"
        self.lifecycle = to

    @property
    def is_ready(self) -> bool:
        """Whether it can be leased."""
        return self.lifecycle is Lifecycle.READY

    @property
    def is_pinned(self) -> bool:
        """Whether it is kept for ever by its keep_alive."""
        return math.isinf(self.keep_alive_seconds)

    @property
    def is_idle(self) -> bool:
        """Whether it is ready and nobody uses it."""
        return self.is_ready and not self.leases

    def has_room_for(self, waiter: Waiter, lookahead: int) -> bool:
        """Whether it may be given one more request. Those that it has bound how long a drain takes."""
        return not waiter.takes_slot or len(self.leases - self.visits) < self.order.options.parallel + lookahead

    @property
    def expires_at(self) -> float:
        """When it is to be unloaded if it stays idle; infinity for never. Meaningless while it is used."""
        return self.idle_since + self.keep_alive_seconds

    def holding(self, now: float) -> Holding:
        """Its memory, as the fit decision takes it."""
        return Holding(
            key=self.key,
            pool_id=self.pool_id,
            standing=self._standing,
            promised_bytes=self.order.need.total_bytes,
            held_bytes=self.held_bytes,
            name=self.order.name,
            weights_bytes=self.order.need.weights_bytes,
            idle_seconds=max(0.0, now - self.idle_since),
            is_pinned=self.is_pinned,
        )

    @property
    def _standing(self) -> Standing:
        match self.lifecycle:
            case Lifecycle.LOADING:
                return Standing.LOADING
            case Lifecycle.READY:
                return Standing.BUSY if self.leases else Standing.IDLE
            case _:
                return Standing.STOPPING


@dataclass
class Returning:
    """Memory of a stopped runner that the system may not show as free yet."""

    name: str
    generation: int
    pool_id: str
    expected_bytes: int
    room_before: int
    until: float
    missing_bytes: int = 0

    @property
    def is_mostly_back(self) -> bool:
        """Whether so much of it is back that the rest is worth no wait."""
        return self.missing_bytes <= (1 - RETURN_SHARE) * self.expected_bytes

    def holding(self) -> Holding:
        """What is still missing, as the fit decision takes it."""
        return Holding(
            key=f"{self.name} (stopped)",
            pool_id=self.pool_id,
            standing=Standing.RETURNED if self.is_mostly_back else Standing.RETURNING,
            promised_bytes=self.missing_bytes,
            held_bytes=self.missing_bytes,
        )


@dataclass(frozen=True)
class Retry:
    """A load that ran out of memory and gets a second chance."""

    order: LoadOrder
    """With the least of what nobody fixed."""
    after: frozenset[int]
    """Generations that are to be gone, and their memory back, before it starts."""
    error: PaddockError
    """Of the first attempt."""


@dataclass
class State:
    """Everything that decisions follow from. One owner changes it, through `core.handle` alone."""

    policy: Policy
    supply: Supply
    """As the system reported it."""
    residents: dict[str, Resident] = field(default_factory=dict)
    queues: dict[str, list[Waiter]] = field(default_factory=dict)
    """By model, in turns of their clients; none is empty."""
    returning: list[Returning] = field(default_factory=list)
    retries: dict[str, Retry] = field(default_factory=dict)
    """By model."""
    shrunk_at: dict[str, float] = field(default_factory=dict)
    """When caches were last shrunk in a pool whose free memory is below the watermark since."""
    refused: Mapping[Load, PaddockError] = field(default_factory=dict)
    """Loads that would be refused, and why: nobody makes room for them."""
    is_closing: bool = False
    timer_at: float | None = None
    next_sequence: int = 1
    next_generation: int = 1

    @property
    def waiting(self) -> int:
        """Requests without a lease."""
        return sum(map(len, self.queues.values()))

    def heads(self) -> Iterator[Waiter]:
        """The first waiter of each model."""
        return (queue[0] for queue in self.queues.values())

    def cold_heads(self) -> list[Waiter]:
        """The first waiters of the models that have no runner, the longest waiting first."""
        cold = [waiter for waiter in self.heads() if waiter.key not in self.residents]
        return sorted(cold, key=lambda waiter: waiter.sequence)

    def holdings(self, now: float) -> list[Holding]:
        """Whose memory is not, or not yet, anybody else's."""
        residents = [resident.holding(now) for resident in self.residents.values()]
        return residents + [entry.holding() for entry in self.returning]

    def allowed_supply(self) -> Supply:
        """What is there for models: of the system's supply, no more than the settings allow."""
        return limited(self.supply, self.policy.memory_limit_bytes, self._held_bytes_by_pool())

    def _held_bytes_by_pool(self) -> dict[str, int]:
        """What runners are known to hold of each pool."""
        held: dict[str, int] = {}
        for resident in self.residents.values():
            held[resident.pool_id] = held.get(resident.pool_id, 0) + resident.held_bytes
        return held

    def room_bytes(self, pool_id: str) -> int:
        """What models have and can have of a pool: its free memory and what they hold of it.

        It changes only with what others use, and for as long as the memory of a runner that is gone is not back.
        """
        pool = self.supply.pool(pool_id)
        return (pool.free_bytes if pool else 0) + self._held_bytes_by_pool().get(pool_id, 0)

    def resident(self, key: str, generation: int) -> Resident | None:
        """The runner of that model and generation, unless it is gone."""
        resident = self.residents.get(key)
        return resident if resident and resident.generation == generation else None

    def remove_waiter(self, waiter: Waiter) -> None:
        """Take a waiter out of its queue."""
        queue = self.queues[waiter.key]
        queue.remove(waiter)
        if not queue:
            del self.queues[waiter.key]
            self.retries.pop(waiter.key, None)
