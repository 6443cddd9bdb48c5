"""The serving benchmark's bars, and whether they are met."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from figures import PADDOCK, Figures, Pass, ratio
from peers import IS_CPU

from paddock.runner.engines.text.pace import budget_seconds

ENGINE, STOCK, SAME = "engine alone", "stock", "same BLAS"


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


def judge(passes: Sequence[Pass], names: list[str]) -> int:
    """Say of each bar whether it is met."""
    bars = [*rate_bars(passes, names), *latency_bars([each[PADDOCK] for each in passes])]
    for bar in bars:
        kind = "at least" if bar.is_least else "at most"
        print(f"{bar.label}: {bar.value:.2f}, {kind} {bar.limit:.2f} wanted: {'pass' if bar.is_met else 'FAIL'}")
    return 0 if all(bar.is_met for bar in bars) else 1


def rate_bars(passes: Sequence[Pass], names: list[str]) -> Iterator[Bar]:
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


def latency_bars(runs: Sequence[Figures]) -> Iterator[Bar]:
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
