"""The long hunt: random histories of the scheduler's core until so many steps are done, and what they were.

A state that breaks a law is printed with the shortest history that leads to it, and ends the hunt in an error.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.scheduler.machine import Tally, machine

STEPS = 200_000
_RUN_STEPS = 100
_ROUND_RUNS = 100


def check(steps: int, until: Collection[str] = ()) -> Tally:
    """Run at least so many steps, and up to four times as many until these outcomes were seen, some of which are rare;
    AssertionError for a law that does not hold."""
    tally = Tally()
    hunt = settings(
        max_examples=_ROUND_RUNS,
        stateful_step_count=_RUN_STEPS,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    while tally.steps < steps or (tally.steps < 4 * steps and not set(until) <= tally.outcomes.keys()):
        run_state_machine_as_test(machine(tally), settings=hunt)
    return tally


def summary(tally: Tally, seconds: float) -> str:
    """The tally for people."""
    lines = [
        f"{tally.steps} steps in {tally.runs} histories, {seconds:.0f} s: no law was broken.",
        "  0 states in which somebody waits and nothing can move",
        f"  at most {tally.fullest_share:.0%} of the budget admitted",
        f"  at most {tally.most_overtaken} times overtaken, never more than the setting",
        f"  at most {tally.most_waiting} waited at once",
        "events:",
        *(f"  {count:9} {name}" for name, count in tally.events.most_common()),
        "outcomes:",
        *(f"  {count:9} {name}" for name, count in tally.outcomes.most_common()),
    ]
    return "\n".join(lines)


def main() -> None:
    """Hunt, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    began = time.monotonic()
    tally = check(parser.parse_args().steps)
    sys.stdout.write(summary(tally, time.monotonic() - began) + "\n")


if __name__ == "__main__":
    main()
