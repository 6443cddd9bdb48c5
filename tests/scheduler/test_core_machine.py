"""A hunt for deadlocks, as long as one may take with every change; `make model-check` goes on for longer."""

from __future__ import annotations

from tests.scheduler.machine import Tally
from tests.scheduler.model_check import check

STEPS = 20_000


def test_no_history_of_events_leaves_somebody_waiting_for_nothing() -> None:
    tally = check(STEPS)

    assert tally.steps >= STEPS
    assert min(tally.outcomes[f"reject: {kind}"] for kind in ("Busy", "Cancelled", "LoadFailed", "NeverFits")) > 0
    assert tally.outcomes["start: a second attempt"] > 0
    assert tally.outcomes["start: lowered"] > 0
    assert tally.outcomes["stop: evicted for another"] > 0
    assert tally.outcomes["stop: evicted under pressure"] > 0


def test_the_tally_starts_empty() -> None:
    assert Tally().steps == 0
