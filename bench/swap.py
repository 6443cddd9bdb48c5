"""What it costs to change models: stop one, wait for the first token of the other, with a warm spare and without.

Both servers run on the same machine and are asked in turn, so that the ratio holds when the machine's speed drifts.

    python bench/swap.py [--rounds 10]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import httpx
from checkpoint import write_checkpoint
from rich.console import Console
from rich.progress import track
from rich.table import Table
from road import serving

from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName

LEAST_RATIO = 2.0
"""A swap with a spare is at least so many times faster."""
WARM_SECONDS = 4.0
"""What a fresh spare gets to finish its imports before the next swap."""

ROWS = {
    "total_s": "stop one, first token of the other",
    "stop_s": "the stop is answered",
    "load_s": "process, imports, weights",
    "first_s": "prompt and first token",
}


class Swapper:
    """A server with two models, of which one is loaded at a time."""

    def __init__(self, url: str, home: Path) -> None:
        self._client = httpx.Client(base_url=url, timeout=120)
        self._home = home
        self._client.post("/api/create", json={"model": "other", "from": "one", "parameters": {"seed": 1}})
        self._loaded, self._next = "one", "other"
        self._first_token(self._loaded)

    def wait_until_warm(self, process_count: int) -> None:
        """Until there are so many runners, the spare included, and then for its imports."""
        deadline = time.monotonic() + 30
        while len(list((self._home / "run").glob("*.json"))) != process_count:
            if time.monotonic() > deadline:
                raise SystemExit("the spare does not come")
            time.sleep(0.05)
        time.sleep(WARM_SECONDS)

    def swap(self) -> dict[str, float]:
        """One change of models."""
        began = time.perf_counter()
        self._client.post("/api/generate", json={"model": self._loaded, "keep_alive": 0}).raise_for_status()
        stopped = time.perf_counter()
        load_seconds = self._first_token(self._next)
        ended = time.perf_counter()
        self._loaded, self._next = self._next, self._loaded
        rest_seconds = ended - stopped - load_seconds
        return {"total_s": ended - began, "stop_s": stopped - began, "load_s": load_seconds, "first_s": rest_seconds}

    def _first_token(self, model: str) -> float:
        """Ask for one token; the seconds that the load took."""
        body = {"model": model, "prompt": "Hello", "raw": True, "stream": False, "options": {"num_predict": 1}}
        response = self._client.post("/api/generate", json=body)
        response.raise_for_status()
        return float(json.loads(response.text)["load_duration"]) / 1e9


def compare(rounds: int) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """The figures with and without a spare, after one swap of each that is not counted."""
    with tempfile.TemporaryDirectory() as place:
        folder = write_checkpoint(Path(place) / "model")
        homes = [Path(place) / name for name in ("with", "without")]
        for home in homes:
            import_folder(Library(home / "models"), ModelName.parse("one"), folder)
        with ExitStack() as servers:
            urls = []
            for home, setting in zip(homes, ("1", "0"), strict=True):
                with patch.dict(os.environ, PADDOCK_WARM_SPARE=setting):
                    urls.append(servers.enter_context(serving(home)))
            warm, cold = (Swapper(url, home) for url, home in zip(urls, homes, strict=True))
            runs = []
            for _ in track(range(rounds + 1), "Swapping", console=Console(stderr=True)):
                warm.wait_until_warm(2)
                runs.append((warm.swap(), cold.swap()))
    return [run[0] for run in runs[1:]], [run[1] for run in runs[1:]]


def main() -> int:
    """Print the table; exit status 1 if the spare gains less than it must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    warm, cold = compare(arguments.rounds)

    table = Table(title=f"Model swap, median of {arguments.rounds} rounds in turn, seconds")
    for heading in ("", "with spare", "without", "ratio"):
        table.add_column(heading)
    for name, words in ROWS.items():
        with_spare, without = (statistics.median(run[name] for run in runs) for runs in (warm, cold))
        table.add_row(words, f"{with_spare:.3f}", f"{without:.3f}", f"{without / with_spare:.1f}x")
    Console().print(table)
    ratio = statistics.median(run["total_s"] for run in cold) / statistics.median(run["total_s"] for run in warm)
    print(f"A swap with a warm spare is {ratio:.2f} times as fast (at least {LEAST_RATIO:g}).")
    return 0 if ratio >= LEAST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
