"""A hunt for deadlocks, as long as one may take with every change; `make model-check` goes on for longer."""

from __future__ import annotations

from tests.scheduler.machine import Tally
from tests.scheduler.model_check import check

STEPS = 20_000
OUTCOMES = {
    *(f"reject: {kind}" for kind in ("Busy", "Cancelled", "LoadFailed", "NeverFits")),
    "start: a second attempt",
    "start: lowered",
    "stop: evicted for another",
    "stop: evicted under pressure",
}


def test_no_history_of_events_leaves_somebody_waiting_for_nothing() -> None:
    tally = check(STEPS, until=OUTCOMES)

    assert tally.steps >= STEPS
    assert tally.outcomes.keys() >= OUTCOMES


def test_the_tally_starts_empty() -> None:
    assert Tally().steps == 0
