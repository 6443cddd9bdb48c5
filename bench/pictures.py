"""Seconds per denoising step of the same models, beside mflux and mlx-vlm, and what telling of the progress costs.

    python bench/pictures.py [--rounds 7] [--steps 6] [--pairs 25]

The models are a Z-Image and a FLUX.2 Klein as wide as two heads, with random weights, for pictures of 256 tokens. All
take turns on the same machine. Paddock is measured where its server stands: at the socket of a runner, where steps come
as frames. The others are measured twice: with Paddock's BLAS, in single precision and with as many text tokens, so that
everyone does the same work; and as their users get them. `picture_steps.py` says how they are run. They are installed
into environments of their own, below the folder that BENCH_PEERS names, unless they are there.

Beside the time on the clock stands that of the processor, which holds where others work on the machine as well.

Frames, slices of time and HTTP cost as much for a small step as for a large one, so that is measured with the smallest
of pictures: through a runner, and in the engine's own loop with nothing around it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

from picture_steps import PROMPT, Ends, Figures

from paddock.protocol import ImageRequest, Step
from tests.runner.engines.image.tiny_folders import make_tiny_klein, make_tiny_z_image
from tests.runner.processes import RunnerProcess, spawn

MOST_PROGRESS_COST = 0.02
"""Of a step, for frames, slices of time and HTTP."""
PEERS = Path(os.environ.get("BENCH_PEERS", Path.home() / ".cache" / "paddock-bench"))
_HERE = Path(__file__).parent
_MLX = "mlx[cpu]" if sys.platform == "linux" else "mlx"
_MFLUX_NEEDS = ("transformers", "platformdirs", "toml", "tqdm", "piexif", "matplotlib", "requests", "sentencepiece")
"""What mflux imports; it asks for PyTorch and CUDA as well, and needs neither."""
_INSTALLS: Mapping[str, Sequence[Sequence[str]]] = {
    "mflux": (("--no-deps", "mflux"), (*_MFLUX_NEEDS, _MLX, "scipy-openblas32")),
    "mlx-vlm": (("mlx-vlm", _MLX, "scipy-openblas32"),),
}
PADDOCK = "paddock"
SIDE = 128
"""Pixels of the models' pictures: 256 tokens."""
SMALLEST_SIDE, SMALL_STEPS = 16, 100
_SCHEDULED = 2
"""Linux numbers the clocks of other processes by their id and this kind."""
SAME, STOCK = "same work", "as users get it"
STOCK_ROUNDS, STOCK_STEPS = 2, 3
"""Of the others as users get them, which take a minute for a picture on the CPU."""

Measured = dict[str, list[Figures]]
"""By program: those of each round."""


def make_z_image(folder: Path) -> None:
    """As wide as two of Z-Image's heads."""
    sizes = {
        "dim": 256,
        "n_layers": 4,
        "n_refiner_layers": 2,
        "n_heads": 2,
        "n_kv_heads": 2,
        "axes_dims": [32, 48, 48],
        "axes_lens": [1024, 512, 512],
    }
    make_tiny_z_image(folder, channels=16, sizes=sizes)


def make_klein(folder: Path) -> None:
    """As wide as two of FLUX.2's heads."""
    sizes = {
        "num_layers": 2,
        "num_single_layers": 4,
        "attention_head_dim": 128,
        "num_attention_heads": 2,
        "timestep_guidance_channels": 256,
        "axes_dims_rope": [32, 32, 32, 32],
    }
    make_tiny_klein(folder, channels=32, text_tokens=512, sizes=sizes)


MODELS: Mapping[str, Callable[[Path], None]] = {"z-image": make_z_image, "klein": make_klein}


class Child:
    """A program that makes steps when it is told to."""

    def __init__(self, python: Path | str, arguments: Sequence[str], **variables: str) -> None:
        self._process = subprocess.Popen(
            [str(python), str(_HERE / "picture_steps.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | variables,
        )

    def measure(self, steps: int) -> Figures:
        """From step to step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"steps": steps}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended")
        figures: Figures = json.loads(line)
        return figures

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def installed(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made if it is not there."""
    python = PEERS / peer / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS / peer)], check=True)
        for packages in _INSTALLS[peer]:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def same_work() -> dict[str, str]:
    """The environment that makes a peer do the same work with the same BLAS."""
    threads = str(max(1, (os.cpu_count() or 1) - 1))
    paths = os.pathsep.join((str(_HERE / "serving" / "same_blas"), str(_HERE.parent / "src")))
    variables = {"BENCH_SAME_WORK": "1", "OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": paths}
    return variables | ({"BENCH_SAME_BLAS": "1"} if sys.platform == "linux" else {})


async def through_the_road(runner: RunnerProcess, steps: int, side: int) -> Figures:
    """From frame to frame of those that tell of steps."""
    request = ImageRequest(prompt=PROMPT, seed=1, steps=steps, width=side, height=side)
    ends = Ends(lambda: processor_seconds(runner.child.pid))
    async with runner.stream("/image", request) as frames:
        async for frame in frames:
            if isinstance(frame, Step) and frame.done:
                ends.note()
    return ends.figures()


def processor_seconds(pid: int) -> float:
    """What a process has had of the processors; to the nanosecond where the system has a clock for it."""
    if sys.platform == "linux":
        return time.clock_gettime((~pid << 3) | _SCHEDULED)
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def compare(model: str, folder: Path, arguments: Any, progress: Progress) -> Measured:
    """Everyone in turn, after one round to warm up."""
    peers = {
        f"{peer}, {how}": Child(installed(peer), (peer, model, str(folder)), **(same_work() if how == SAME else {}))
        for peer in arguments.peers
        for how in (SAME, STOCK)
    }
    found: Measured = {}
    task = progress.add_task(model, total=arguments.rounds + 1)
    async with AsyncExitStack() as stack:
        for child in peers.values():
            stack.callback(child.close)
        runner = await stack.enter_async_context(spawn(folder, engine="image"))
        await runner.wait_loaded()
        for number in range(arguments.rounds + 1):
            found.setdefault(PADDOCK, []).append(await through_the_road(runner, arguments.steps, SIDE))
            for name, child in peers.items():
                if name.endswith(SAME) or number <= STOCK_ROUNDS:
                    steps = arguments.steps if name.endswith(SAME) else STOCK_STEPS
                    found.setdefault(name, []).append(await asyncio.to_thread(child.measure, steps))
            progress.advance(task)
    return {name: rounds[1:] for name, rounds in found.items()}


async def measure_progress(folder: Path, pairs: int, progress: Progress) -> tuple[list[Figures], list[Figures]]:
    """Small steps through a runner and in the engine's own loop, in turn."""
    engine = Child(sys.executable, ("engine", "z-image", str(folder), str(SMALLEST_SIDE)))
    road, own = [], []
    async with AsyncExitStack() as stack:
        stack.callback(engine.close)
        runner = await stack.enter_async_context(spawn(folder, engine="image"))
        await runner.wait_loaded()
        for _ in progress.track(range(pairs + 1), description="progress"):
            road.append(await through_the_road(runner, SMALL_STEPS, SMALLEST_SIDE))
            own.append(await asyncio.to_thread(engine.measure, SMALL_STEPS))
    return road[1:], own[1:]


def clock(figures: Figures) -> float:
    """Milliseconds of a step."""
    return 1000 * float(statistics.median(figures["seconds"]))


def processor(figures: Figures) -> float:
    """The same of the processor's time."""
    return 1000 * float(figures["processor_seconds"])


def of_all(time_of: Callable[[Figures], float], rounds: Sequence[Figures]) -> float:
    """The median of the rounds."""
    return statistics.median(map(time_of, rounds))


def ratio(time_of: Callable[[Figures], float], ours: Sequence[Figures], theirs: Sequence[Figures]) -> float:
    """The median of our time to theirs, over the rounds that both made."""
    return statistics.median(time_of(one) / time_of(other) for one, other in zip(ours, theirs, strict=False))


def show(measured: Mapping[str, Measured], console: Console) -> bool:
    """Print the table; whether Paddock is quicker than everyone."""
    table = Table("model", "program", title="One step of denoising, all in turn")
    for heading in ("ms", "paddock / it", "ms of processor", "paddock / it"):
        table.add_column(heading, justify="right")
    slower = []
    for model, found in measured.items():
        for name, rounds in found.items():
            cells = []
            for time_of in (clock, processor):
                share = "" if name == PADDOCK else f"{ratio(time_of, found[PADDOCK], rounds):.2f}"
                cells += [f"{of_all(time_of, rounds):.0f}", share]
            table.add_row(model, name, *cells)
            if name != PADDOCK and ratio(clock, found[PADDOCK], rounds) >= 1:
                slower.append(f"{name} with {model}")
    console.print(table)
    console.print(f"quicker than everyone: {'FAIL, slower than ' + ', '.join(slower) if slower else 'pass'}")
    return not slower


def show_progress(measured: Mapping[str, Measured], pairs: tuple[list[Figures], list[Figures]], out: Console) -> bool:
    """Print what telling of the progress costs; whether that is little of every model's step."""
    is_cheap = True
    for name, time_of in (("clock", clock), ("processor", processor)):
        road, own = (of_all(time_of, rounds) for rounds in pairs)
        cost = statistics.median(time_of(one) - time_of(other) for one, other in zip(*pairs, strict=True))
        shares = {model: cost / of_all(time_of, found[PADDOCK]) for model, found in measured.items()}
        told = ", ".join(f"{share:.2%} of a step of {model}" for model, share in shares.items())
        out.print(f"{name}: a small step {own:.2f} ms, with frames and HTTP {road:.2f} ms: {cost:.2f} ms, {told}")
        is_cheap &= max(shares.values()) <= MOST_PROGRESS_COST
    out.print(f"progress costs at most {MOST_PROGRESS_COST:.0%} of a step: {'pass' if is_cheap else 'FAIL'}")
    return is_cheap


def main() -> int:
    """Print the table; exit status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6, help="of one picture")
    parser.add_argument("--pairs", type=int, default=25, help="of turns of a runner and of the engine's own loop")
    parser.add_argument("--peers", nargs="*", default=list(_INSTALLS), choices=list(_INSTALLS))
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    arguments = parser.parse_args()
    measured: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory() as place, Progress(console=Console(stderr=True)) as progress:
        for model in arguments.models:
            folder = Path(place) / model
            folder.mkdir()
            MODELS[model](folder)
            measured[model] = asyncio.run(compare(model, folder, arguments, progress))
        small = Path(place) / "small"
        small.mkdir()
        pairs = asyncio.run(measure_progress(make_tiny_z_image(small), arguments.pairs, progress))
    is_quickest = show(measured, Console())
    is_cheap = show_progress(measured, pairs, Console())
    return 0 if is_quickest and is_cheap else 1


if __name__ == "__main__":
    sys.exit(main())
