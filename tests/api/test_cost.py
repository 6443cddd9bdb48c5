"""What the API costs for each token, with a bound that only a blunder exceeds; `make bench-api` has the real one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "api_latency.py"
MOST_PROCESSOR_MS = 1.0
"""Six times the bar: this runs beside other tests, on machines of any speed."""


def test_a_token_costs_little_of_the_servers_processor_time() -> None:
    bounds = ("--most-processor", str(MOST_PROCESSOR_MS), "--most-first", "inf")
    size = ("--rounds", "1", "--tokens", "100", "--pace", "10", "--dialect", "Anthropic messages")

    result = subprocess.run(
        [sys.executable, str(BENCH), *size, *bounds], capture_output=True, text=True, timeout=120, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr
    found = re.search(r"at most (\d+\.\d+) ms of processor time for a token", result.stdout)
    assert found
    assert 0 < float(found[1]) <= MOST_PROCESSOR_MS
