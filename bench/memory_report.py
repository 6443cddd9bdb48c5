"""What a runner was foreseen to need against what it came to hold: prediction against truth, as a table and a picture.

    python bench/memory_report.py [--quick] [--png docs/memory-report.png]

Every row is a real runner: its contexts are filled to the end by as many requests at once as it takes, or it makes
pictures of the size that it was started for. Its peak is what its process alone held at most, which is what admission
compares with, and the worker beside it, which stays below what is set aside for it.

The bars: never more than 5 % under, within 10 % and 64 MB; and of a second load, foreseen with what was seen of the
first, within 5 %. It ends with 1 if one of them is missed. The quick run allows a second load to be over by 64 MB more:
other runners may live beside its own, and what a process holds alone gets smaller when another maps the same libraries.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import io
import itertools
import os
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memory_checkpoints import CHECKPOINTS, Checkpoint, write
from memory_image_checkpoints import IMAGE_CHECKPOINTS, ImageCheckpoint, Pictures, write_image
from PIL import Image
from rich.console import Console
from rich.table import Table

from paddock.memory.correction import Seen, foresee
from paddock.memory.devices import system_memory
from paddock.memory.estimate import MIB, WORKER_BYTES, Need, Settings
from paddock.memory.observed import seen_of
from paddock.protocol import CompletionRequest, ImageRequest, MemoryTerms, Sampling
from paddock.store.facts import ModelFacts, read_facts
from paddock.store.model_files import model_files
from paddock.supervisor.host import this_host
from paddock.supervisor.model_server import RunnerOptions, RunnerSpec
from paddock.supervisor.runner_server import RunnerServer

UNDER, OVER, SLACK_BYTES, AFTER = 0.05, 0.10, 64 * MIB, 0.05
PARALLEL = (1, 4)
QUICK = ("llama-tiny", "mamba2", "z-image")
QUICK_CONTEXTS = (256, 512)
TEXT_TOKENS = 512
"""Most of a prompt for a picture."""
ROOM_TOKENS = 24
"""Of each context, left for the answer, which ends where the context does; of a prompt, for the template around it."""
ROUNDS = 2
"""How often contexts are filled: in which order sequences come and go is a matter of moments."""
CHUNKS = 4
"""A prompt is read in so many steps at least."""


@dataclass(frozen=True)
class Row:
    """One runner."""

    name: str
    kind: str
    reach: str
    """The context in tokens, or the pictures."""
    settings: Settings
    foreseen: Need
    peak_bytes: int
    after: tuple[int, int] | None = None
    """Of a second load: foreseen and measured."""
    after_slack_bytes: int = 0
    """By so much more it may be over."""

    @property
    def error(self) -> float:
        """Negative where less was foreseen than came."""
        return (self.foreseen.total_bytes - self.peak_bytes) / self.peak_bytes

    @property
    def label(self) -> str:
        """For the picture."""
        return f"{self.name}  {self.reach} x {self.settings.parallel}"

    @property
    def terms_bytes(self) -> tuple[int, int, int, int]:
        """Foreseen: weights, what is kept of sequences, work, runtime."""
        need = self.foreseen
        return need.weights_bytes, need.kv_bytes, need.workspace_bytes, need.runtime_bytes

    @property
    def foreseen_bytes(self) -> int:
        """In all."""
        return self.foreseen.total_bytes

    @property
    def after_error(self) -> float:
        """As `error`, of the second load."""
        return (self.after[0] - self.after[1]) / self.after[1] if self.after else 0.0

    @property
    def is_right(self) -> bool:
        """Whether every bar is held."""
        most_over = OVER * self.peak_bytes + SLACK_BYTES
        is_within = self.error >= -UNDER and self.foreseen.total_bytes - self.peak_bytes <= most_over
        if not is_within or self.after is None:
            return is_within
        foreseen_bytes, peak_bytes = self.after
        return -AFTER * peak_bytes <= foreseen_bytes - peak_bytes <= AFTER * peak_bytes + self.after_slack_bytes


async def main() -> int:
    """Make the checkpoints, run them, print and draw."""
    arguments = _arguments()
    chosen = [each for each in (*CHECKPOINTS, *IMAGE_CHECKPOINTS) if not arguments.quick or each.name in QUICK]
    chosen = [each for each in chosen if not arguments.only or each.name in arguments.only]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="paddock-memory-") as folder:
        for checkpoint in chosen:
            path = Path(folder) / checkpoint.name
            if isinstance(checkpoint, Checkpoint):
                write(checkpoint, path)
                runs = _fillings(checkpoint, is_quick=arguments.quick)
            else:
                write_image(checkpoint, path)
                runs = _paintings(checkpoint, is_quick=arguments.quick)
            rows += await _rows(checkpoint, path, Path(folder), runs, SLACK_BYTES if arguments.quick else 0)
    Console(width=None if sys.stdout.isatty() else 150).print(_table(rows))
    wrong = [row for row in rows if not row.is_right]
    worst = min(row.error for row in rows)
    print(f"{len(rows)} runners of {len(chosen)} models; lowest {worst:+.1%}; {len(wrong)} outside the bars")
    if arguments.png:
        from memory_picture import draw

        draw(rows, arguments.png)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Prediction against truth.")
    parser.add_argument("--quick", action="store_true", help="three models, small contexts and one picture")
    parser.add_argument("--png", type=Path, help="where to draw it")
    parser.add_argument("--only", nargs="*", help="names of checkpoints")
    return parser.parse_args()


Work = Callable[[RunnerServer], Awaitable[None]]


@dataclass(frozen=True)
class Run:
    """A runner to be started, and what it has to do."""

    reach: str
    settings: Settings
    work: Work


def _fillings(checkpoint: Checkpoint, *, is_quick: bool) -> list[Run]:
    """Of a text model: contexts, filled to their ends."""
    contexts = QUICK_CONTEXTS if is_quick else checkpoint.contexts
    runs = []
    for num_ctx, parallel in itertools.product(contexts, PARALLEL):
        settings = Settings(
            num_ctx,
            parallel,
            num_batch=min(512, num_ctx // CHUNKS),
            kv_bits=checkpoint.kv_bits,
            keep_packed=checkpoint.keep_packed,
        )
        runs.append(Run(str(num_ctx), settings, functools.partial(_fill_all, settings=settings)))
    return runs


def _paintings(checkpoint: ImageCheckpoint, *, is_quick: bool) -> list[Run]:
    """Of an image model: pictures, as large and as many at once as may be."""
    runs = []
    for pictures in checkpoint.pictures[: 1 if is_quick else None]:
        settings = Settings(
            TEXT_TOKENS,
            pictures.at_once,
            picture_pixels=pictures.width * pictures.height,
            references=pictures.references,
            tile_pixels=pictures.tile_pixels,
            staged=pictures.staged,
        )
        runs.append(Run(pictures.label, settings, functools.partial(_paint, pictures=pictures)))
    return runs


async def _rows(
    checkpoint: Checkpoint | ImageCheckpoint, path: Path, scratch: Path, runs: Sequence[Run], slack_bytes: int
) -> list[Row]:
    facts = read_facts(model_files(path))
    rows = []
    for run in runs:
        foreseen = foresee(facts, run.settings, on_accelerator=False)
        memory = await _measure(facts, path, scratch, run, foreseen)
        after = None
        if run is runs[-1]:
            seen: Seen = seen_of(memory, run.settings, foreseen)
            again = foresee(facts, run.settings, on_accelerator=False, seen=seen)
            second = await _measure(facts, path, scratch, run, again)
            after = again.total_bytes, second.private_peak_bytes + WORKER_BYTES
        peak_bytes = memory.private_peak_bytes + WORKER_BYTES
        row = Row(checkpoint.name, checkpoint.kind, run.reach, run.settings, foreseen, peak_bytes, after, slack_bytes)
        print(f"{row.label}: {row.error:+.1%}", file=sys.stderr, flush=True)
        rows.append(row)
    return rows


async def _measure(facts: ModelFacts, path: Path, scratch: Path, run: Run, need: Need) -> MemoryTerms:
    """Load, have it do its work, and ask what it took."""
    settings = run.settings
    options = RunnerOptions(
        settings.num_ctx,
        settings.parallel,
        settings.num_batch,
        kv_bits=settings.kv_bits,
        keep_packed=settings.keep_packed,
        picture_pixels=settings.picture_pixels,
        references=settings.references,
        tile_pixels=settings.tile_pixels,
        staged=settings.staged,
    )
    limit_bytes = need.total_bytes - need.runtime_bytes
    spec = RunnerSpec(path.name, facts.engine, path, options, memory_limit_bytes=limit_bytes)
    server = RunnerServer(spec, this_host(os.environ, log_folder=scratch / "logs"))
    try:
        await server.load(system_memory(), [], require_full=False)
        await server.wait_until_running()
        await run.work(server)
        await server.memory_size()
        health = server.last_health
        assert health is not None
        return health.memory
    finally:
        await server.close()


async def _paint(server: RunnerServer, pictures: Pictures) -> None:
    """As many pictures as are made at once, of a prompt that is as long as may be, from pictures of the same size."""
    given = io.BytesIO()
    size = (pictures.width, pictures.height)
    Image.frombytes("RGB", size, random.Random(1).randbytes(size[0] * size[1] * 3)).save(given, "PNG")
    request = ImageRequest(
        prompt="a" * (TEXT_TOKENS - ROOM_TOKENS),
        width=pictures.width,
        height=pictures.height,
        seed=1,
        count=pictures.at_once,
        images=(given.getvalue(),) * pictures.references,
    )
    async for _ in server.image(request):
        pass


async def _fill_all(server: RunnerServer, settings: Settings) -> None:
    """Fill the context with as many requests as there is room for."""
    full_tokens = settings.num_ctx - ROOM_TOKENS
    for _ in range(ROUNDS):
        await asyncio.gather(*(_fill(server, full_tokens, str(client)) for client in range(settings.parallel)))


async def _fill(server: RunnerServer, tokens: int, client: str) -> None:
    """Clients take turns, so their prompts are read side by side, and are all nearly read while nobody answers yet:
    beside answers, chunks are small."""
    context = tuple(20 + index % 200 for index in range(tokens - 1))
    request = CompletionRequest(prompt="a", context=context, sampling=Sampling(temperature=0.0), client=client)
    async for _ in server.completion(request):
        pass


def _table(rows: list[Row]) -> Table:
    table = Table(title="What runners were foreseen to need, and their peaks, in MB")
    for heading in ("model", "kind", "context, picture"):
        table.add_column(heading, no_wrap=True)
    for heading in (
        "parallel",
        "weights",
        "kept",
        "work",
        "runtime",
        "foreseen",
        "peak",
        "error",
        "2nd load",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            row.kind,
            row.reach,
            str(row.settings.parallel),
            *(f"{size / 1e6:.0f}" for size in (*row.terms_bytes, row.foreseen_bytes, row.peak_bytes)),
            f"{row.error:+.1%}",
            f"{row.after_error:+.1%}" if row.after else "",
            style=None if row.is_right else "bold red",
        )
    return table


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
