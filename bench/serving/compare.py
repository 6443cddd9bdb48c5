"""Servers side by side: the same model, the same machine, prompts of the same length, one server at a time, several
passes.

    python bench/serving/compare.py [--passes 3] [--tokens 192] [--quick] [--no-stock] [--png FILE] [--only NAME ...]

Each pass starts every server anew, measures it and stops it; figures are medians of passes, ratios are medians of the
ratios within a pass, so that they hold when the machine's speed drifts. The engine alone and Paddock are measured in
turn, several times in a pass. What the machine's host disturbs is measured again (`quiet.py`). What takes long of the
others, latencies and everything with MLX's own BLAS, is measured in the first pass only. BENCH_PEERS is the folder of
the other servers' environments, BENCH_BACKEND what MLX computes with in them: cpu, cuda12 or cuda13. On a GPU there is
no BLAS to share.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import psutil
from bars import ENGINE, SAME, STOCK, judge
from checkpoint import prompt_of, write_checkpoint
from figures import (
    CONCURRENCY,
    PADDOCK,
    SHARED_TOKENS,
    Figures,
    median_rate,
    print_costs,
    print_latencies,
    print_rates,
    spread,
)
from load import Place, measure_first, measure_gaps, measure_rate
from peers import IS_CPU, PEERS, Peer, paddock_serving
from picture import draw
from quiet import TRIES, quietest
from rich.console import Console

PROMPT_TOKENS, LONG_TOKENS = 64, 16_000
TURNS = 5
"""How often in a pass the engine alone and Paddock are measured in turn."""
FEWER_TRIES = 3
"""For what takes long."""

log = Console(stderr=True)
_seeds = itertools.count(100)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how much of it."""

    folder: Path
    tokens: int
    with_latency: bool
    with_stock: bool


@dataclass(frozen=True)
class Subject:
    """What answers prompts: the engine alone, or a server."""

    process: int
    rate: Callable[[list[str], int], float]
    """Tokens per second of these prompts at once, so many tokens each."""


@contextmanager
def engine_alone(folder: Path) -> Iterator[Subject]:
    """The engine in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("engine.py")), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def rate(given: list[str], tokens: int) -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"prompts": given, "tokens": tokens}) + "\n")
        process.stdin.flush()
        return float(json.loads(process.stdout.readline()))

    with process:
        yield Subject(process.pid, rate)


def server(place: Place) -> Subject:
    """What a server's clients see of it."""
    return Subject(place.process, lambda given, tokens: asyncio.run(measure_rate(place, given, tokens)))


def measure_rates(subjects: Mapping[str, Subject], tokens: int, turns: int, tries: int) -> dict[str, Figures]:
    """Rates, costs and disturbances of all of them, each measured in its turn."""
    found = {name: Figures() for name in subjects}
    for subject in subjects.values():
        subject.rate(prompts(1), 16)
    for count in CONCURRENCY:
        rounds = [
            {name: quietest(partial(rate_and_cost, it, count, tokens), tries) for name, it in subjects.items()}
            for _ in range(turns)
        ]
        for name, figures in found.items():
            figures.rates[count] = statistics.median(each[name][0][0] for each in rounds)
            figures.costs[count] = statistics.median(each[name][0][1] for each in rounds)
            figures.taken[count] = statistics.median(each[name][1] for each in rounds)
    return found


def rate_and_cost(subject: Subject, count: int, tokens: int) -> tuple[float, float]:
    """Tokens per second, and processor seconds per token."""
    given, before_s = prompts(count), processor_s(subject.process)
    return subject.rate(given, tokens), (processor_s(subject.process) - before_s) / (count * tokens)


def add_latency(figures: Figures, place: Place, tokens: int, tries: int) -> None:
    """First tokens, cold and after a shared beginning, and token gaps, alone and beside a long prompt."""
    (figures.cold_s, figures.shared_s), _ = quietest(lambda: first_seconds(place), tries)
    (figures.alone_s, figures.beside_s), _ = quietest(lambda: gap_seconds(place, tokens), tries)


def first_seconds(place: Place) -> tuple[float, float]:
    """Until the first token: of the first prompt with a beginning, and of later ones."""
    shared = prompt_of(SHARED_TOKENS // 2, seed=next(_seeds))
    cold, *again = asyncio.run(measure_first(place, [f"{shared} {tail}" for tail in prompts(3)]))
    return cold, statistics.median(again)


def gap_seconds(place: Place, tokens: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Spreads of token gaps, alone and while a long prompt is being read."""
    long = prompt_of(LONG_TOKENS // 2, seed=next(_seeds))
    alone, beside = asyncio.run(measure_gaps(place, prompts(1)[0], 4 * tokens, long))
    return spread(alone), spread(beside)


def processor_s(process_id: int) -> float:
    """Processor seconds that a process and its children have used up so far."""
    process = psutil.Process(process_id)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def prompts(count: int) -> list[str]:
    """So many short prompts that nobody has seen before."""
    return [prompt_of(PROMPT_TOKENS // 2, seed=next(_seeds)) for _ in range(count)]


def one_pass(plan: Plan, peers: list[Peer], is_first: bool) -> dict[str, Figures]:
    """Every server once."""
    log.print(f"measuring {PADDOCK} …")
    with engine_alone(plan.folder) as engine, paddock_serving(plan.folder) as place:
        found = measure_rates({ENGINE: engine, PADDOCK: server(place)}, plan.tokens, TURNS, TRIES)
        if plan.with_latency:
            add_latency(found[PADDOCK], place, plan.tokens, FEWER_TRIES)
    for name, starting, is_worth in peer_servers(plan, peers, plan.with_stock and is_first):
        log.print(f"measuring {name} …")
        try:
            with starting as place:
                found |= measure_rates({name: server(place)}, plan.tokens, 1, FEWER_TRIES if is_worth else 1)
                if plan.with_latency and is_worth and is_first:
                    add_latency(found[name], place, plan.tokens, 1)
        except RuntimeError as error:
            log.print(f"{name} is left out: {error}")
    return found


def peer_servers(
    plan: Plan, peers: list[Peer], with_stock: bool
) -> Iterator[tuple[str, AbstractContextManager[Place], bool]]:
    """Name, how to start it, and whether it is worth long waiting."""
    for peer in peers:
        if IS_CPU:
            yield f"{peer.name}, {SAME}", peer.serving(plan.folder, same_blas=True), True
        if with_stock or not IS_CPU:
            yield f"{peer.name}, {STOCK}", peer.serving(plan.folder, same_blas=False), not IS_CPU


def main() -> int:
    """Print the tables, draw them, and judge: exit status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--quick", action="store_true", help="rates only")
    parser.add_argument("--no-stock", dest="stock", action="store_false", help="leave MLX's own BLAS out")
    parser.add_argument("--png", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="peers by name; none of them: all")
    arguments = parser.parse_args()
    peers = [peer for peer in PEERS if not arguments.only or peer.name in arguments.only]
    for peer in peers:
        peer.install()
    with tempfile.TemporaryDirectory() as place:
        plan = Plan(write_checkpoint(Path(place) / "model"), arguments.tokens, not arguments.quick, arguments.stock)
        passes = [one_pass(plan, peers, is_first=index == 0) for index in range(arguments.passes)]
    names = list(passes[0])
    print_rates(passes, names)
    print_costs(passes, names)
    if plan.with_latency:
        print_latencies(passes, names)
    if arguments.png:
        draw({name: [median_rate(passes, name, count) for count in CONCURRENCY] for name in names}, arguments.png)
    return judge(passes, names)


if __name__ == "__main__":
    sys.exit(main())
