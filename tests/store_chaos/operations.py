"""Random operations on one store from several processes at once: nothing that a model needs is ever missing, and what
none needs is gone in the end.

As a program it is one of the processes: `python -m tests.store_chaos.operations ROOT HUB FOLDERS COUNT SEED TASKS`.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from paddock.errors import NotFound, PaddockError
from paddock.store.check import check
from paddock.store.hub.pull import Order, pull
from paddock.store.hub.settings import HubSettings
from paddock.store.hub.source import HubSource
from paddock.store.library import Library
from paddock.store.transfer.progress import Board
from tests.fakes.fake_hub import FakeHub
from tests.store.hub.pulling import model_bytes
from tests.store.making import derive, make, named, write_model
from tests.store_chaos.script import check_clean

NAMES = 12
"""So many models there may be; few, so that tasks meet."""
SOURCES = 4
"""Repositories and folders, all of which share files."""
GIVE_UP_SECONDS = 3000.0


@dataclass
class Worker:
    """One task: its operations, one after the other."""

    library: Library
    hub: str
    folders: Path
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def work(self, count: int) -> None:
        choices: list[tuple[Callable[[], None], int]] = [
            (self.pull, 2), (self.create, 3), (self.derive, 2), (self.copy, 3), (self.delete, 6), (self.collect, 2),
            (self.load, 2), (self.list, 1), (self.check, 1),
        ]  # fmt: skip
        for _ in range(count):
            operation = self.rng.choices([each for each, _ in choices], [weight for _, weight in choices])[0]
            try:
                operation()
                self.done[operation.__name__] += 1
            except NotFound:
                self.done[f"{operation.__name__}: not there"] += 1
            except (PaddockError, AssertionError) as error:
                self.failures.append(f"{operation.__name__}: {error!r}")

    @property
    def name(self) -> str:
        return f"model-{self.rng.randrange(NAMES)}"

    def pull(self) -> None:
        source = HubSource(f"org/repo-{self.rng.randrange(SOURCES)}")
        settings = HubSettings(endpoint=self.hub, backoff_seconds=0.001)
        asyncio.run(pull(self.library, Order(named(self.name), source), settings, Board()))

    def create(self) -> None:
        folder = self.folders / f"own-{self.rng.randrange(SOURCES)}"
        make(self.library, folder, self.name, system=str(self.rng.randrange(3)))

    def derive(self) -> None:
        derive(self.library, self.name, self.name, system=str(self.rng.randrange(3)))

    def copy(self) -> None:
        self.library.copy(named(self.name), named(self.name))

    def delete(self) -> None:
        self.library.delete(named(self.name))

    def collect(self) -> None:
        """Without any grace: only leases keep what is on its way."""
        self.library.collect(older_than_seconds=-1)

    def load(self) -> None:
        with self.library.leases.take() as lease:
            model = self.library.get_held(named(self.name), lease)
            lease.add([f"sha256:{model.digest}"])
            view = self.library.view(model)
            assert all((view / name).read_bytes() for name in self.library.files(model))

    def list(self) -> None:
        self.library.list()

    def check(self) -> None:
        problems = check(self.library).problems
        assert not problems, problems


def process(root: Path, hub: str, folders: Path, count: int, seed: int, tasks: int) -> dict[str, object]:
    """So many operations in one process, shared among its tasks; what came of them."""
    library = Library(root)
    workers = [Worker(library, hub, folders, random.Random(f"{seed}-{number}")) for number in range(tasks)]
    threads = [threading.Thread(target=worker.work, args=(count // tasks,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = sum((worker.done for worker in workers), Counter())
    return {"done": dict(done), "failures": [failure for worker in workers for failure in worker.failures]}


@dataclass
class Figures:
    """How a campaign went."""

    done: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    missing: int = 0
    orphans: int = 0

    def __str__(self) -> str:
        head = (
            f"{sum(self.done.values())} operations in {self.seconds:.0f} s: {len(self.failures)} failures, "
            f"{self.missing} missing blobs, {self.orphans} orphans after the last collection"
        )
        return "\n".join([head, *(f"  {name:24} {count:6}" for name, count in sorted(self.done.items()))])


async def campaign(
    hub: FakeHub, folder: Path, count: int, processes: int = 2, tasks: int = 4, seed: int = 0
) -> Figures:
    """So many operations, shared among the tasks of several processes."""
    for number in range(SOURCES):
        write_model(folder / f"own-{number}", fill=float(number))
        hub.repository(f"org/repo-{number}", model_bytes(folder, fill=float(number // 2 + 2)))
    Library(folder / "models")
    begin = time.monotonic()
    given = [str(folder / "models"), hub.endpoint, str(folder), str(count // processes)]
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.store_chaos.operations",
            *given,
            str(seed + own),
            str(tasks),
            stdout=subprocess.PIPE,
        )
        for own in range(processes)
    ]
    async with asyncio.timeout(GIVE_UP_SECONDS):
        results = [json.loads((await each.communicate())[0]) for each in running]
    figures = Figures(seconds=time.monotonic() - begin)
    for result in results:
        figures.done.update(result["done"])
        figures.failures += result["failures"]
    await asyncio.to_thread(_look, Library(folder / "models"), figures)
    return figures


def _look(library: Library, figures: Figures) -> None:
    """At what is left."""
    library.collect(older_than_seconds=-1)
    check_clean(library)
    needed = {layer.digest for model in library.list() for layer in model.manifest.blobs}
    figures.missing = len(needed - library.blobs.digests())
    figures.orphans = len(library.blobs.digests() - needed)


if __name__ == "__main__":
    root, hub_url, own_folders, *numbers = sys.argv[1:]
    print(json.dumps(process(Path(root), hub_url, Path(own_folders), *map(int, numbers))))
