"""What the road costs: tokens per second and time to first token through HTTP against the engine's own loop.

Both run the same model on the same machine in turn, so that the ratio holds when the machine's speed drifts.

    python bench/road.py [--rounds 7] [--tokens 256] [--prompt 256]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from checkpoint import prompt_of, write_checkpoint
from rich.console import Console
from rich.progress import track
from rich.table import Table

from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName

LEAST_RATIO = 0.90
"""Through the whole road, at least this share of the engine's own rate."""

Figures = dict[str, float]


class EngineLoop:
    """The engine in a process of its own, with no road around it."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("engine_loop.py")), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, prompt: str, num_predict: int) -> Figures:
        """One answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"prompt": prompt, "num_predict": num_predict}) + "\n")
        self._process.stdin.flush()
        figures: Figures = json.loads(self._process.stdout.readline())
        return figures

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Road:
    """A Paddock server with the same model, asked over HTTP."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=300)

    def measure(self, prompt: str, num_predict: int) -> Figures:
        """One answer, as a client sees it."""
        body = {
            "model": "bench",
            "prompt": prompt,
            "raw": True,
            "options": {"temperature": 0, "num_predict": num_predict, "num_ctx": 8192},
        }
        began = time.perf_counter()
        first = 0.0
        with self._client.stream("POST", "/api/generate", json=body) as response:
            response.raise_for_status()
            for line in response.iter_lines():
                first = first or time.perf_counter()
                if '"done":true' in line:
                    count = json.loads(line)["eval_count"]
        ended = time.perf_counter()
        return {"first_s": first - began, "tokens_per_s": (count - 1) / (ended - first)}


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """A server on a free port, whose store is in `home`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = os.environ | {"PADDOCK_HOME": str(home), "PADDOCK_HOST": f"127.0.0.1:{port}"}
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "paddock", "serve"], env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while not answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((home / "server.log").read_text())
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    """Whether a server is there."""
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def compare(rounds: int, tokens: int, prompt_tokens: int) -> tuple[list[Figures], list[Figures]]:
    """The engine's figures and the road's, measured in turn after one warm-up of each."""
    with tempfile.TemporaryDirectory() as place:
        folder = write_checkpoint(Path(place) / "model")
        home = Path(place) / "home"
        import_folder(Library(home / "models"), ModelName.parse("bench"), folder)
        engine = EngineLoop(folder)
        prompt = prompt_of(prompt_tokens // 2)
        try:
            with serving(home) as url:
                road = Road(url)
                runs = [
                    (engine.measure(prompt, tokens), road.measure(prompt, tokens))
                    for _ in track(range(rounds + 1), "Measuring", console=Console(stderr=True))
                ]
        finally:
            engine.close()
    return [run[0] for run in runs[1:]], [run[1] for run in runs[1:]]


def main() -> int:
    """Print the table; exit status 1 if the road costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=256)
    arguments = parser.parse_args()
    engine, road = compare(arguments.rounds, arguments.tokens, arguments.prompt)

    table = Table(title=f"Concurrency 1, {arguments.tokens} tokens, median of {arguments.rounds} rounds in turn")
    table.add_column("")
    for heading in ("engine's own loop", "through the road", "road / engine"):
        table.add_column(heading, justify="right")
    ratios: Figures = {}
    for name, label, form in (("tokens_per_s", "decode, tokens/s", "{:.1f}"), ("first_s", "first token, s", "{:.3f}")):
        ratios[name] = statistics.median(theirs[name] / own[name] for own, theirs in zip(engine, road, strict=True))
        medians = [statistics.median(run[name] for run in runs) for runs in (engine, road)]
        table.add_row(label, *map(form.format, medians), f"{ratios[name]:.3f}")
    Console().print(table)
    is_enough = ratios["tokens_per_s"] >= LEAST_RATIO
    verdict = "pass" if is_enough else "FAIL"
    print(f"decode ratio {ratios['tokens_per_s']:.3f}, at least {LEAST_RATIO:.2f} wanted: {verdict}")
    return 0 if is_enough else 1


if __name__ == "__main__":
    sys.exit(main())
