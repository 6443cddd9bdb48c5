"""Servers side by side: the same model, the same machine, the same prompts, one server at a time, several passes.

    python bench/serving/compare.py [--passes 3] [--tokens 128] [--quick] [--no-stock] [--png FILE] [--only NAME ...]

Each pass starts every server anew, measures it and stops it; figures are medians of passes, ratios are medians of the
ratios within a pass, so that they hold when the machine's speed drifts. BENCH_PEERS is the folder of the other servers'
environments, BENCH_BACKEND what MLX computes with in them: cpu, cuda12 or cuda13. On a GPU there is no BLAS to share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import psutil
from checkpoint import prompt_of, write_checkpoint
from load import Place, measure_first, measure_gaps, measure_rate
from peers import BACKEND, PEERS, Peer, paddock_serving
from picture import draw
from rich.console import Console
from rich.table import Table

from paddock.runner.engines.text.pace import budget_seconds

CONCURRENCY = (1, 4, 16)
PROMPT_TOKENS, SHARED_TOKENS, LONG_TOKENS = 64, 2_000, 16_000
ENGINE, PADDOCK = "engine alone", "Paddock"
STOCK, SAME = "stock", "same BLAS"
IS_CPU = BACKEND == "cpu"

log = Console(stderr=True)


@dataclass
class Figures:
    """What one pass saw of one server."""

    rates: dict[int, float] = field(default_factory=dict)
    """Tokens per second by concurrency."""
    costs: dict[int, float] = field(default_factory=dict)
    """Processor seconds of the server per token, by concurrency: what other work on the machine moves least."""
    cold_s: float | None = None
    shared_s: float | None = None
    alone_s: tuple[float, float] | None = None
    """Token gaps without company: median and 99th percentile."""
    beside_s: tuple[float, float] | None = None
    """And while a long prompt is being read."""


@dataclass(frozen=True)
class Plan:
    """What is measured, and how much of it."""

    folder: Path
    tokens: int
    with_latency: bool
    with_stock: bool


def engine_figures(plan: Plan) -> Figures:
    """The engine's own rates."""
    figures = Figures()
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("engine.py")), str(plan.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        for count in (1, *CONCURRENCY):  # the first one warms up
            before_s = processor_s(process.pid)
            process.stdin.write(json.dumps({"prompts": prompts(count), "tokens": plan.tokens}) + "\n")
            process.stdin.flush()
            figures.rates[count] = json.loads(process.stdout.readline())
            figures.costs[count] = (processor_s(process.pid) - before_s) / (count * plan.tokens)
        process.stdin.close()
    return figures


async def server_figures(place: Place, plan: Plan) -> Figures:
    """One server's figures."""
    figures = Figures()
    await measure_rate(place, prompts(1), 16)
    for count in CONCURRENCY:
        before_s = processor_s(place.process)
        figures.rates[count] = await measure_rate(place, prompts(count), plan.tokens)
        figures.costs[count] = (processor_s(place.process) - before_s) / (count * plan.tokens)
    if plan.with_latency:
        shared = prompt_of(SHARED_TOKENS // 2, seed=7)
        figures.cold_s, *again = await measure_first(place, [f"{shared} {tail}" for tail in prompts(3)])
        figures.shared_s = statistics.median(again)
        long = prompt_of(LONG_TOKENS // 2, seed=8)
        alone, beside = await measure_gaps(place, prompts(1)[0], 4 * plan.tokens, long)
        figures.alone_s, figures.beside_s = spread(alone), spread(beside)
    return figures


def processor_s(process_id: int) -> float:
    """Processor seconds that a process and its children have used up so far."""
    process = psutil.Process(process_id)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def prompts(count: int) -> list[str]:
    """So many different short prompts."""
    return [prompt_of(PROMPT_TOKENS // 2, seed=100 + index) for index in range(count)]


def spread(gaps: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    ordered = sorted(gaps)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def servers(plan: Plan, only: list[str]) -> Iterator[tuple[str, AbstractContextManager[Place], bool]]:
    """Name, how to start it, and whether its latency is worth waiting for."""
    yield PADDOCK, paddock_serving(plan.folder), True
    for peer in chosen(only):
        if IS_CPU:
            yield f"{peer.name}, {SAME}", peer.serving(plan.folder, same_blas=True), True
        if plan.with_stock or not IS_CPU:
            yield f"{peer.name}, {STOCK}", peer.serving(plan.folder, same_blas=False), not IS_CPU


def chosen(only: list[str]) -> list[Peer]:
    """The peers to compare with."""
    return [peer for peer in PEERS if not only or peer.name in only]


def one_pass(plan: Plan, only: list[str]) -> dict[str, Figures]:
    """Every server once."""
    found = {ENGINE: engine_figures(plan)}
    for name, starting, is_quick in servers(plan, only):
        log.print(f"measuring {name} …")
        try:
            with starting as place:
                part = replace(plan, with_latency=plan.with_latency and is_quick)
                found[name] = asyncio.run(server_figures(place, part))
        except RuntimeError as error:
            log.print(f"{name} is left out: {error}")
    return found


def main() -> int:
    """Print the table, draw it, and judge it: exit status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--quick", action="store_true", help="rates only")
    parser.add_argument("--no-stock", dest="stock", action="store_false", help="leave MLX's own BLAS out")
    parser.add_argument("--png", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="peers by name; none of them: all")
    arguments = parser.parse_args()
    for peer in chosen(arguments.only):
        peer.install()
    with tempfile.TemporaryDirectory() as place:
        plan = Plan(write_checkpoint(Path(place) / "model"), arguments.tokens, not arguments.quick, arguments.stock)
        passes = [one_pass(plan, arguments.only) for _ in range(arguments.passes)]
    names = [name for name in passes[0] if all(name in each for each in passes)]
    print_rates(passes, names)
    print_costs(passes, names)
    if plan.with_latency:
        print_latencies(passes, names)
    if arguments.png:
        draw({name: [median_rate(passes, name, count) for count in CONCURRENCY] for name in names}, arguments.png)
    return judge(passes, names)


def median_rate(passes: list[dict[str, Figures]], name: str, count: int) -> float:
    """Tokens per second."""
    return statistics.median(each[name].rates[count] for each in passes)


def ratio(passes: list[dict[str, Figures]], one: str, other: str, count: int) -> float:
    """How many times faster `one` is, within a pass."""
    return statistics.median(each[one].rates[count] / each[other].rates[count] for each in passes)


def print_rates(passes: list[dict[str, Figures]], names: list[str]) -> None:
    """Tokens per second, and Paddock's as a multiple."""
    table = Table(
        title=f"Tokens per second by streams at once, and Paddock's multiple (median of {len(passes)} passes)"
    )
    table.add_column("")
    for count in CONCURRENCY:
        table.add_column(f"{count}", justify="right")
        table.add_column("x", justify="right", style="dim")
    for name in names:
        cells = [
            text
            for count in CONCURRENCY
            for text in (f"{median_rate(passes, name, count):.0f}", f"{ratio(passes, PADDOCK, name, count):.2f}")
        ]
        table.add_row(name, *cells)
    Console().print(table)


def print_costs(passes: list[dict[str, Figures]], names: list[str]) -> None:
    """Processor time per token, and how much of Paddock's it is."""
    table = Table(title="Processor milliseconds per token, prompts included, and as a multiple of Paddock's")
    table.add_column("")
    for count in CONCURRENCY:
        table.add_column(f"{count}", justify="right")
        table.add_column("x", justify="right", style="dim")
    for name in names:
        cells = []
        for count in CONCURRENCY:
            cost_s = statistics.median(each[name].costs[count] for each in passes)
            multiple = statistics.median(each[name].costs[count] / each[PADDOCK].costs[count] for each in passes)
            cells += [f"{1000 * cost_s:.2f}", f"{multiple:.2f}"]
        table.add_row(name, *cells)
    Console().print(table)


def print_latencies(passes: list[dict[str, Figures]], names: list[str]) -> None:
    """First tokens and token gaps."""
    table = Table(title="First token and token gaps, milliseconds")
    table.add_column("")
    for heading in (f"first, {SHARED_TOKENS} cold", "first, shared", "gap p50 / p99", "gap beside 16k p50 / p99"):
        table.add_column(heading, justify="right")
    for name in names:
        runs = [each[name] for each in passes if each[name].cold_s is not None]
        if not runs:
            continue
        cold = statistics.median(run.cold_s or 0.0 for run in runs)
        shared = statistics.median(run.shared_s or 0.0 for run in runs)
        gaps = pair(runs[-1].alone_s, runs[-1].beside_s)
        table.add_row(name, f"{1000 * cold:.0f}", f"{1000 * shared:.0f}", *gaps)
    Console().print(table)


def pair(*spreads: tuple[float, float] | None) -> list[str]:
    """Gaps as text."""
    return ["" if each is None else f"{1000 * each[0]:.1f} / {1000 * each[1]:.1f}" for each in spreads]


@dataclass(frozen=True)
class Bar:
    """What is wanted of a figure."""

    label: str
    value: float
    limit: float
    is_least: bool = True

    @property
    def is_met(self) -> bool:
        """Whether it has what is wanted."""
        return self.value >= self.limit if self.is_least else self.value <= self.limit


def judge(passes: list[dict[str, Figures]], names: list[str]) -> int:
    """Say of each bar whether it is met."""
    bars = [*rate_bars(passes, names), *latency_bars([each[PADDOCK] for each in passes])]
    for bar in bars:
        kind = "at least" if bar.is_least else "at most"
        print(f"{bar.label}: {bar.value:.2f}, {kind} {bar.limit:.2f} wanted: {'pass' if bar.is_met else 'FAIL'}")
    return 0 if all(bar.is_met for bar in bars) else 1


def rate_bars(passes: list[dict[str, Figures]], names: list[str]) -> Iterator[Bar]:
    """Tokens per second against the engine alone, against itself and against the others."""
    yield Bar("through HTTP against the engine, 1 stream", ratio(passes, PADDOCK, ENGINE, 1), 0.95)
    yield Bar("through HTTP against the engine, 16 streams", ratio(passes, PADDOCK, ENGINE, 16), 0.90)
    scaling = statistics.median(each[PADDOCK].rates[16] / each[PADDOCK].rates[1] for each in passes)
    yield Bar("16 streams against 1", scaling, 3.5)
    stock = [name for name in names if name.endswith(STOCK)]
    same = [name for name in names if name.endswith(SAME)] if IS_CPU else stock
    for count, others, least in ((1, same, 1.15), (16, same, 1.5), (16, stock if IS_CPU else [], 5.0)):
        if others:
            worst = min(ratio(passes, PADDOCK, name, count) for name in others)
            kind = SAME if others is same and IS_CPU else "as its users get it"
            yield Bar(f"against the best other, {kind}, streams: {count}", worst, least)


def latency_bars(runs: list[Figures]) -> Iterator[Bar]:
    """First tokens, and how long a stream stands still beside a long prompt."""
    timed = [run for run in runs if run.cold_s and run.shared_s]
    if timed:
        ratios = [(run.cold_s or 0.0) / (run.shared_s or 1.0) for run in timed]
        yield Bar("first token cold against shared", statistics.median(ratios), 5.0)
    # A step's time, not the median gap: what comes faster than it can be read arrives several tokens at a time.
    gaps = [run.beside_s[1] / budget_seconds(1 / run.rates[1]) for run in runs if run.beside_s]
    if gaps:
        label = "token gap beside a 16k prompt, p99, in budgets of a chunk"
        yield Bar(label, statistics.median(gaps), 2.0, is_least=False)


if __name__ == "__main__":
    sys.exit(main())
