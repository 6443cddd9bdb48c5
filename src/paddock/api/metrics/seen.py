"""What is looked at when somebody asks for figures: runners, memory, queue, decisions. Nothing here is kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric

from paddock import __version__
from paddock.api.services import Services
from paddock.memory.estimate import Need
from paddock.protocol import MemoryTerms
from paddock.scheduler.actions import StopReason
from paddock.scheduler.history import LOAD_OUTCOMES, HistoryView
from paddock.scheduler.service import ResidentView
from paddock.supervisor.breaker import BreakerState
from paddock.supervisor.exit_report import Cause
from paddock.supervisor.views import SpareState, StableView

Rows = Iterable[tuple[Sequence[str], float]]
"""Values of the labels, and the figure."""

_MODEL = ("model", "digest")
_DIGEST_CHARACTERS = 12


def families(services: Services) -> Iterator[Metric]:
    """Every figure that is there at this moment."""
    scheduler = services.scheduler
    residents = scheduler.residents()
    yield InfoMetricFamily("paddock_server", "What serves here.", value={"version": __version__})
    yield _gauge("uptime_seconds", "Since the server's start.", (), [((), time.monotonic() - services.began)])
    yield from _queue(services)
    yield from _requests(residents)
    yield from _memory_of(residents)
    yield from _pools(services, residents)
    yield from _history(scheduler.history())
    yield from _stable(services.stable())


def bodies_family(held_bytes: int) -> Metric:
    """What the bodies of requests hold."""
    return _gauge("body_bytes", "Held by the bodies of requests, small ones aside.", (), [((), held_bytes)])


def _queue(services: Services) -> Iterator[Metric]:
    queue = services.scheduler.queue()
    yield _gauge("queue_length", "Requests that wait for a model.", (), [((), queue.waiting)])
    yield _gauge("queue_limit", "Requests that may wait; the next is refused.", (), [((), queue.most)])
    yield _gauge("queue_oldest_seconds", "How long the oldest has waited.", (), [((), queue.oldest_seconds)])


def _requests(residents: Sequence[ResidentView]) -> Iterator[Metric]:
    states = ((*_labels(row), row.state) for row in residents)
    yield _gauge("runner_state", "Runners: 1 for the state it is in.", (*_MODEL, "state"), [(row, 1) for row in states])
    yield _gauge(
        "active_requests",
        "Requests that have a lease on a model.",
        _MODEL,
        [(_labels(row), row.active_requests) for row in residents],
    )
    yield _gauge(
        "waiting_requests",
        "Requests that wait for a model that has a runner.",
        _MODEL,
        [(_labels(row), row.waiting_requests) for row in residents],
    )
    yield _gauge(
        "batch_requests",
        "Requests that the runner works on now, by its own account.",
        _MODEL,
        [(_labels(row), row.health.active_requests) for row in residents if row.health],
    )
    yield _gauge(
        "batch_limit",
        "Requests that a runner answers side by side.",
        _MODEL,
        [(_labels(row), row.options.parallel) for row in residents],
    )
    yield _counter(
        "runner_tokens",
        "Tokens that the runner has generated since its start, also of answers that nobody waited for.",
        _MODEL,
        [(_labels(row), row.health.tokens) for row in residents if row.health],
    )


def _memory_of(residents: Sequence[ResidentView]) -> Iterator[Metric]:
    yield _gauge(
        "promised_bytes",
        "Memory set aside for a model, by what it is for. Loading and working are not at the same time.",
        (*_MODEL, "term"),
        [((*_labels(row), term), size) for row in residents for term, size in _promised(row.need)],
    )
    yield _gauge(
        "measured_bytes",
        "Memory that a runner says it holds, by what it is.",
        (*_MODEL, "term"),
        [
            ((*_labels(row), term), size)
            for row in residents
            if row.health
            for term, size in _measured(row.health.memory)
        ],
    )
    for name, help_text, sizes in (
        ("promised_total_bytes", "Memory set aside for a model.", [row.need.total_bytes for row in residents]),
        ("held_bytes", "Memory that a runner alone is seen to hold.", [row.held_bytes for row in residents]),
        ("peak_bytes", "Most memory that a runner ever held; 0: not known.", [row.peak_bytes for row in residents]),
        ("context_tokens", "Tokens that one sequence may hold.", [row.context_length for row in residents]),
    ):
        yield _gauge(name, help_text, _MODEL, zip(map(_labels, residents), sizes, strict=True))


def _pools(services: Services, residents: Sequence[ResidentView]) -> Iterator[Metric]:
    supply = services.scheduler.supply()
    figures = {pool.id: pool_bytes(pool.id, residents) for pool in supply.pools}
    for name, help_text, rows in (
        ("total", "What there is.", [(pool.id, pool.total_bytes) for pool in supply.pools]),
        ("free", "What models may still have.", [(pool.id, max(0, pool.free_bytes)) for pool in supply.pools]),
        ("reserve", "What is kept for the system.", [(pool.id, supply.reserve_bytes) for pool in supply.pools]),
        ("promised", "Set aside for models.", [(pool, promised) for pool, (promised, _) in figures.items()]),
        ("held", "What models are seen to hold.", [(pool, held) for pool, (_, held) in figures.items()]),
    ):
        yield _gauge(f"memory_{name}_bytes", f"Of a memory: {help_text}", ("memory",), [((i,), v) for i, v in rows])


def pool_bytes(pool_id: str, residents: Iterable[ResidentView]) -> tuple[int, int]:
    """What is promised of a memory, and what is held of it, by all residents together."""
    here = [row for row in residents if row.pool_id == pool_id]
    return sum(row.need.total_bytes for row in here), sum(row.held_bytes for row in here)


def _history(history: HistoryView) -> Iterator[Metric]:
    yield _counter(
        "loads",
        "Loads that have ended, by how.",
        ("outcome",),
        [((outcome,), history.loads.get(outcome, 0)) for outcome in LOAD_OUTCOMES],
    )
    seconds = SummaryMetricFamily("paddock_load_seconds", "Of the loads that ended ready.")
    seconds.add_metric([], count_value=history.loads.get("ready", 0), sum_value=history.load_seconds)
    yield seconds
    yield _counter(
        "evictions",
        "Runners that the scheduler has ended, by why.",
        ("reason",),
        [((reason.value,), history.stops.get(reason, 0)) for reason in StopReason],
    )
    yield _counter(
        "rejections",
        "Requests that got no lease on a model, by the code of the error.",
        ("code",),
        [((code,), count) for code, count in sorted(history.rejections.items())],
    )


def _stable(stable: StableView) -> Iterator[Metric]:
    yield _counter(
        "crashes",
        "Runners that ended unasked or had to be killed, by what ended them.",
        ("cause",),
        [((cause.value,), stable.crashes.get(cause, 0)) for cause in Cause if cause is not Cause.STOPPED],
    )
    yield _gauge(
        "spare_state",
        "The warm spare: 1 for the state it is in.",
        ("state",),
        [((state.value,), float(state is stable.spare.state)) for state in SpareState],
    )
    yield _gauge("spare_held_bytes", "Memory that the warm spare holds.", (), [((), stable.spare.held_bytes)])
    worst: dict[Sequence[str], BreakerState] = {}
    for breaker in stable.breakers:  # each set of options has its own
        labels = (breaker.model, breaker.digest[:_DIGEST_CHARACTERS])
        worst[labels] = max(worst.get(labels, BreakerState.CLOSED), breaker.state, key=_SEVERITY.index)
    yield _gauge(
        "breaker_state",
        "Models that crashed lately: 1 for the state that their breaker is in.",
        (*_MODEL, "state"),
        [((*labels, state.value), float(state is found)) for labels, found in worst.items() for state in BreakerState],
    )


_SEVERITY = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)


def _promised(need: Need) -> Iterator[tuple[str, int]]:
    yield "weights", need.weights_bytes
    yield "kv", need.kv_bytes
    yield "workspace", need.workspace_bytes
    yield "prefix_cache", need.prefix_cache_bytes
    yield "runtime", need.runtime_bytes
    yield "draft", need.draft_bytes
    yield "loading", need.load_bytes


def _measured(memory: MemoryTerms) -> Iterator[tuple[str, int]]:
    yield "weights", memory.weights_bytes
    yield "arrays", memory.active_bytes
    yield "allocator_cache", memory.cache_bytes
    yield "prefix_cache", memory.prefix_bytes
    yield "runtime", memory.runtime_bytes
    yield "process", memory.private_bytes


def _labels(row: ResidentView) -> tuple[str, str]:
    """A name may have moved on to another model while its former one is still there."""
    return row.model.name.display, row.model.digest[:_DIGEST_CHARACTERS]


def _gauge(name: str, help_text: str, labels: Sequence[str], rows: Rows) -> Metric:
    family = GaugeMetricFamily(f"paddock_{name}", help_text, labels=labels)
    for values, figure in rows:
        family.add_metric(values, figure)
    return family


def _counter(name: str, help_text: str, labels: Sequence[str], rows: Rows) -> Metric:
    family = CounterMetricFamily(f"paddock_{name}", help_text, labels=labels)
    for values, figure in rows:
        family.add_metric(values, figure)
    return family
