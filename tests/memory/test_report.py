"""Prediction against truth, the quick half: real runners, filled to the end of their contexts, and one that paints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_real_runners_hold_what_was_foreseen() -> None:
    report = subprocess.run(
        [sys.executable, "bench/memory_report.py", "--quick"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )

    assert report.returncode == 0, report.stdout + report.stderr
    assert "9 runners of 3 models" in report.stdout
    assert "0 outside the bars" in report.stdout
