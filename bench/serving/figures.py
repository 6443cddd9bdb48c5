"""What the serving benchmark found, and the tables that tell it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

CONCURRENCY = (1, 4, 16)
SHARED_TOKENS = 2_000
PADDOCK = "Paddock"


@dataclass
class Figures:
    """What one pass saw of one server."""

    rates: dict[int, float] = field(default_factory=dict)
    """Tokens per second by concurrency."""
    costs: dict[int, float] = field(default_factory=dict)
    """Processor seconds of the server per token, by concurrency: what other work on the machine moves least."""
    taken: dict[int, float] = field(default_factory=dict)
    """The share of the processors that the machine's host took meanwhile, by concurrency."""
    cold_s: float | None = None
    shared_s: float | None = None
    alone_s: tuple[float, float] | None = None
    """Token gaps without company: median and 99th percentile."""
    beside_s: tuple[float, float] | None = None
    """And while a long prompt is being read."""


Pass = Mapping[str, Figures]
"""By the server's name."""


def spread(gaps: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    ordered = sorted(gaps)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def median_rate(passes: Sequence[Pass], name: str, count: int) -> float:
    """Tokens per second."""
    return statistics.median(each[name].rates[count] for each in passes if name in each)


def ratio(passes: Sequence[Pass], one: str, other: str, count: int) -> float:
    """How many times faster `one` is, within a pass."""
    return statistics.median(
        each[one].rates[count] / each[other].rates[count] for each in passes if one in each and other in each
    )


def print_rates(passes: Sequence[Pass], names: list[str]) -> None:
    """Tokens per second, and Paddock's as a multiple."""
    table = _by_concurrency("Tokens per second by streams at once, and Paddock's multiple", "host took")
    for name in names:
        cells = [
            text
            for count in CONCURRENCY
            for text in (f"{median_rate(passes, name, count):.0f}", f"{ratio(passes, PADDOCK, name, count):.2f}")
        ]
        taken = statistics.median(max(each[name].taken.values()) for each in passes if name in each)
        table.add_row(name, *cells, f"{taken:.0%}")
    Console().print(table)


def print_costs(passes: Sequence[Pass], names: list[str]) -> None:
    """Processor time per token, and how much of Paddock's it is."""
    title = "Processor milliseconds per token, prompts included, and as a multiple of Paddock's"
    table = _by_concurrency(title, "passes")
    for name in names:
        runs = [each for each in passes if name in each]
        cells = []
        for count in CONCURRENCY:
            cost_s = statistics.median(each[name].costs[count] for each in runs)
            multiple = statistics.median(each[name].costs[count] / each[PADDOCK].costs[count] for each in runs)
            cells += [f"{1000 * cost_s:.2f}", f"{multiple:.2f}"]
        table.add_row(name, *cells, f"{len(runs)}")
    Console().print(table)


def print_latencies(passes: Sequence[Pass], names: list[str]) -> None:
    """First tokens and token gaps."""
    table = Table(title="First token and token gaps, milliseconds")
    table.add_column("")
    for heading in (f"first, {SHARED_TOKENS} cold", "first, shared", "gap p50 / p99", "gap beside 16k p50 / p99"):
        table.add_column(heading, justify="right")
    for name in names:
        runs = [each[name] for each in passes if name in each and each[name].cold_s is not None]
        if not runs:
            continue
        cold = statistics.median(run.cold_s or 0.0 for run in runs)
        shared = statistics.median(run.shared_s or 0.0 for run in runs)
        gaps = _pair(runs[-1].alone_s, runs[-1].beside_s)
        table.add_row(name, f"{1000 * cold:.0f}", f"{1000 * shared:.0f}", *gaps)
    Console().print(table)


def _by_concurrency(title: str, last: str) -> Table:
    table = Table(title=title)
    table.add_column("")
    for count in CONCURRENCY:
        table.add_column(f"{count}", justify="right")
        table.add_column("x", justify="right", style="dim")
    table.add_column(last, justify="right")
    return table


def _pair(*spreads: tuple[float, float] | None) -> list[str]:
    return ["" if each is None else f"{1000 * each[0]:.1f} / {1000 * each[1]:.1f}" for each in spreads]
