"""Whether a model fits, and who has to go if it does not. Pure: figures in, a verdict out.

    decide(ask, supply, holdings, max_loaded) -> Fits | Evict | MustWait | NeverFits

The system's figure of free memory lags behind what was promised: a loading runner has not yet taken its share, an idle
one has not yet filled its context. So what is promised and not yet held is taken off the free memory first. What a
stopping runner holds is not free until the system says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from paddock.memory.estimate import MIB, Need, gigabytes

RESERVE_BYTES = 512 * MIB
"""Of each pool, kept for the system and for whatever else runs there."""

_RELOAD_BYTES_PER_SECOND = 1e9
_RELOAD_SECONDS = 1.0


@dataclass(frozen=True)
class Pool:
    """Memory that some devices draw from. Devices that share their memory, as Metal and the CPU do, are one pool."""

    id: str
    total_bytes: int
    free_bytes: int
    has_accelerator: bool
    has_cpu: bool


@dataclass(frozen=True)
class Supply:
    """The memory of this machine as the system reported it, best pool first."""

    pools: tuple[Pool, ...]
    reserve_bytes: int = RESERVE_BYTES

    @property
    def has_accelerator(self) -> bool:
        """Whether any model can run on an accelerator here."""
        return any(pool.has_accelerator for pool in self.pools)

    def pool(self, pool_id: str) -> Pool | None:
        """The pool of that id, if the machine still has it."""
        return next((pool for pool in self.pools if pool.id == pool_id), None)


class Standing(Enum):
    """How a holder of memory stands to giving it back."""

    LOADING = "loading"
    BUSY = "busy"
    IDLE = "idle"
    """The only ones that may be evicted."""
    STOPPING = "stopping"
    RETURNING = "returning"
    """Its process is gone; the system does not show its memory as free yet."""
    RETURNED = "returned"
    """Most of it is back: worth no more waiting, but no reason yet to say never."""


_HAVE_PROCESS = frozenset({Standing.LOADING, Standing.BUSY, Standing.IDLE, Standing.STOPPING})
_ON_THEIR_WAY = frozenset({Standing.STOPPING, Standing.RETURNING})
_WILL_END = frozenset({Standing.LOADING, Standing.BUSY, Standing.RETURNED})


@dataclass(frozen=True)
class Holding:
    """Memory that one of our runners holds or was promised."""

    key: str
    pool_id: str
    standing: Standing
    promised_bytes: int
    held_bytes: int
    """The part that is already missing from the system's free memory; never overstated."""
    name: str = ""
    """For reasons that people read."""
    weights_bytes: int = 0
    """What a reload would have to read."""
    idle_seconds: float = 0.0
    is_pinned: bool = False
    """Kept for ever by its keep_alive: evicted only where all others would not do, busy ones included."""

    @property
    def outstanding_bytes(self) -> int:
        """Promised, but not yet taken; it can be until the process is gone."""
        return max(0, self.promised_bytes - self.held_bytes) if self.standing in _HAVE_PROCESS else 0

    @property
    def gain_bytes(self) -> int:
        """What can be given to others once this is gone."""
        return self.held_bytes + self.outstanding_bytes

    @property
    def most_bytes(self) -> int:
        """As `gain_bytes`, where a load or its end leaves it uncertain how much was already taken: at most."""
        if self.standing in (Standing.LOADING, Standing.STOPPING):
            return max(self.promised_bytes, self.held_bytes) + self.outstanding_bytes
        return self.gain_bytes

    @property
    def reluctance(self) -> tuple[bool, float, str]:
        """Order of eviction: longest idle first, in units of the time that a reload would cost; pinned ones last."""
        reload_seconds = _RELOAD_SECONDS + self.weights_bytes / _RELOAD_BYTES_PER_SECOND
        return (self.is_pinned, -self.idle_seconds / reload_seconds, self.key)


@dataclass(frozen=True)
class Ask:
    """A model that wants to be loaded."""

    name: str
    need: Need
    wants_accelerator: bool = True
    smaller: str = "a smaller num_ctx"
    """What would make it need less, for people."""


@dataclass(frozen=True)
class Fits:
    """It can be loaded now."""

    pool_id: str


@dataclass(frozen=True)
class Evict:
    """It can be loaded once these idle ones are gone; none of them is superfluous."""

    victims: tuple[str, ...]


@dataclass(frozen=True)
class MustWait:
    """It fits once runners that are busy, loading or stopping are through."""

    why: str
    until: frozenset[str] = frozenset()
    """Those that have to become idle first; empty if everything needed is already on its way."""


@dataclass(frozen=True)
class NeverFits:
    """It would not fit if everything else were gone. `why` is a sentence for the user."""

    why: str


Verdict = Fits | Evict | MustWait | NeverFits
_BEST_FIRST = (Fits, Evict, MustWait, NeverFits)


def decide(ask: Ask, supply: Supply, holdings: Sequence[Holding], max_loaded: int = 0) -> Verdict:
    """The best verdict over the pools that the model may use. `max_loaded` bounds the runners; 0 leaves it to memory.

    Without accelerators, or if the model is to be kept off them, it goes where the CPU's memory is.
    """
    wants_accelerator = ask.wants_accelerator and supply.has_accelerator
    pools = [pool for pool in supply.pools if (pool.has_accelerator if wants_accelerator else pool.has_cpu)]
    verdicts = [_decide_in(pool, ask, supply.reserve_bytes, holdings, max_loaded) for pool in pools]
    nothing = NeverFits(f"Model '{ask.name}' has no device to run on here: change num_gpu.")
    return min(verdicts, key=lambda verdict: _BEST_FIRST.index(type(verdict)), default=nothing)


@dataclass(frozen=True)
class _Shortage:
    """What is missing for a load in one pool: bytes, and places among the loaded models. Not positive: nothing."""

    pool_id: str
    missing_bytes: int
    missing_places: int

    def is_met_by(self, leaving: Iterable[Holding], *, at_most: bool = False) -> bool:
        """Whether it is over once all of these are gone."""
        found_bytes = found_places = 0
        for holding in leaving:
            found_places += holding.standing in _HAVE_PROCESS
            if holding.pool_id == self.pool_id:
                found_bytes += holding.most_bytes if at_most else holding.gain_bytes
        return found_bytes >= self.missing_bytes and found_places >= self.missing_places

    def fewest(self, certain: Sequence[Holding], candidates: Sequence[Holding]) -> list[Holding] | None:
        """Candidates that end it together with the certain ones, preferring the first; None if all do not.

        Whoever turns out superfluous once a larger one had to be added is left out again, the last chosen first.
        """
        chosen: list[Holding] = []
        for candidate in candidates:
            chosen.append(candidate)
            if self.is_met_by([*certain, *chosen]):
                break
        else:
            return None
        for candidate in reversed(chosen[:-1]):
            rest = [other for other in chosen if other is not candidate]
            if self.is_met_by([*certain, *rest]):
                chosen = rest
        return chosen


def _decide_in(pool: Pool, ask: Ask, reserve_bytes: int, holdings: Sequence[Holding], max_loaded: int) -> Verdict:
    # Of memory that is shared with the system an accelerator may only have a part, however much is free.
    held_bytes = sum(holding.held_bytes for holding in holdings if holding.pool_id == pool.id)
    usable_bytes = min(pool.free_bytes, pool.total_bytes - held_bytes) - reserve_bytes
    usable_bytes -= sum(holding.outstanding_bytes for holding in holdings if holding.pool_id == pool.id)
    loaded = sum(holding.standing in _HAVE_PROCESS for holding in holdings)
    missing_places = loaded + 1 - max_loaded if max_loaded else 0
    shortage = _Shortage(pool.id, ask.need.total_bytes - usable_bytes, missing_places)
    if shortage.is_met_by(()):
        return Fits(pool.id)
    on_their_way = [holding for holding in holdings if holding.standing in _ON_THEIR_WAY]
    if shortage.is_met_by(on_their_way):
        return MustWait(f"{_names(on_their_way)} must first give its memory back")
    for spares_pinned in (True, False):
        movable = [holding for holding in holdings if not (holding.is_pinned and spares_pinned)]
        idle = sorted((h for h in movable if h.standing is Standing.IDLE), key=lambda holding: holding.reluctance)
        victims = shortage.fewest(on_their_way, idle)
        if victims is not None:
            return Evict(tuple(victim.key for victim in victims))
        busy = sorted((h for h in movable if h.standing in _WILL_END), key=lambda holding: holding.reluctance)
        enders = shortage.fewest([*on_their_way, *idle], busy)
        if enders is not None:
            return MustWait(f"{_names(enders)} must first come to rest", _with_process(enders))
    if shortage.is_met_by(holdings, at_most=True):
        return MustWait("how much memory the runners that load or stop now will leave is not known yet")
    most_bytes = usable_bytes + sum(holding.most_bytes for holding in holdings if holding.pool_id == pool.id)
    return NeverFits(
        f"Model '{ask.name}' needs {gigabytes(ask.need.total_bytes)} ({ask.need.describe()}) but this machine can give "
        f"{gigabytes(max(0, most_bytes))}: choose a smaller model, a stronger quantisation or {ask.smaller}."
    )


def _names(holdings: Sequence[Holding]) -> str:
    return ", ".join(holding.name or holding.key for holding in holdings)


def _with_process(holdings: Sequence[Holding]) -> frozenset[str]:
    return frozenset(holding.key for holding in holdings if holding.standing in _HAVE_PROCESS)
