"""What OpenBLAS gives on a Linux CPU: MLX with it against MLX as its wheel is, on the same model, in turn.

    python bench/blas.py [--rounds 5] [--prompt 512] [--tokens 32] [--batch 16]

Prefill and decode go through the engine; the batch through the model itself with one cache per layer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checkpoint import prompt_of, write_checkpoint
from rich.console import Console
from rich.progress import track
from rich.table import Table

LEAST_RATIOS = {"prefill": 4.0, "batch": 4.0}
"""OpenBLAS over MLX's own, where it must pay off."""

Figures = dict[str, float]


def measure(folder: Path) -> None:
    """In a process of its own: load the model, then answer each line of stdin with one line of figures."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    from paddock.protocol import CompletionRequest, Done, Sampling
    from paddock.runner.engines.base import EngineOptions
    from paddock.runner.engines.registry import choose_blas, make_engine
    from paddock.runner.hygiene import prepare_environment

    prepare_environment(os.environ, num_gpu=0)
    engine = make_engine("text", EngineOptions(folder, num_ctx=8192))
    engine.load(lambda _share: None)
    model = engine._model.model

    def answer(prompt: str, tokens: int) -> Done:
        sampling = Sampling(temperature=0, num_predict=tokens)
        engine.submit(0, engine.prepare(CompletionRequest(prompt=prompt, sampling=sampling)))
        while True:
            for _, frame in engine.step():
                if isinstance(frame, Done):
                    return frame

    def batch_rate(batch: int, tokens: int) -> float:
        cache = make_prompt_cache(model)
        current = mx.argmax(model(mx.full((batch, 8), 7), cache=cache)[:, -1, :], axis=-1)
        mx.eval(current)
        began = time.perf_counter()
        for _ in range(tokens):
            current = mx.argmax(model(current[:, None], cache=cache)[:, -1, :], axis=-1)
            mx.async_eval(current)
        mx.eval(current)
        return batch * tokens / (time.perf_counter() - began)

    print(json.dumps({"blas": choose_blas()}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        done = answer(asked["prompt"], asked["tokens"])
        figures = {
            "prefill": done.prompt_eval_count / done.prompt_eval_duration_ns * 1e9,
            "decode": done.eval_count / done.eval_duration_ns * 1e9,
            "batch": batch_rate(asked["batch"], asked["tokens"]),
        }
        print(json.dumps(figures), flush=True)


class Measured:
    """One of the two sides."""

    def __init__(self, folder: Path, blas: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--measure", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PADDOCK_BLAS": blas},
        )
        self.blas = self._read()["blas"]

    def run(self, **asked: object) -> Figures:
        """One round."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> dict:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def compare(arguments: argparse.Namespace) -> int:
    """Print the table; exit status 1 if OpenBLAS gives less than it must."""
    asked = {"prompt": prompt_of(arguments.prompt // 2), "tokens": arguments.tokens, "batch": arguments.batch}
    with tempfile.TemporaryDirectory() as place:
        folder = write_checkpoint(Path(place) / "model")
        sides = [Measured(folder, "off"), Measured(folder, "on")]
        try:
            names = [side.blas for side in sides]
            if names[1] == "reference":
                raise SystemExit("OpenBLAS is not in use: see the line above.")
            rounds = [
                [side.run(**asked) for side in sides]
                for _ in track(range(arguments.rounds + 1), "Measuring", console=Console(stderr=True))
            ][1:]
        finally:
            for side in sides:
                side.close()
    return report(rounds, names, arguments)


def report(rounds: list[list[Figures]], names: list[str], arguments: argparse.Namespace) -> int:
    """The table of medians and the verdict."""
    table = Table(title=f"Tokens per second, float32, median of {arguments.rounds} rounds in turn")
    for heading in ("", *names, "ratio", "at least"):
        table.add_column(heading, justify="right" if heading else "left")
    labels = {"prefill": "prefill", "decode": "decode, one sequence", "batch": f"decode, {arguments.batch} sequences"}
    is_enough = True
    for key, label in labels.items():
        off, on = (statistics.median(figures[side][key] for figures in rounds) for side in (0, 1))
        ratio = statistics.median(figures[1][key] / figures[0][key] for figures in rounds)
        least = LEAST_RATIOS.get(key, 0.0)
        is_enough &= ratio >= least
        table.add_row(label, f"{off:.1f}", f"{on:.1f}", f"{ratio:.2f}", f"{least:.1f}" if least else "-")
    Console().print(table)
    print("pass" if is_enough else "FAIL")
    return 0 if is_enough else 1


def main() -> int:
    """Measure, or compare what two processes measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        measure(arguments.measure)
        return 0
    return compare(arguments)


if __name__ == "__main__":
    sys.exit(main())
