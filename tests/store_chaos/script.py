"""What the campaigns do to a store, and what it must come to in the end."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy
from safetensors.numpy import save

from paddock.errors import NotFound
from paddock.store.check import check
from paddock.store.hub.pull import Order, pull
from paddock.store.hub.settings import HubSettings
from paddock.store.hub.source import HubSource
from paddock.store.library import Library
from paddock.store.transfer.progress import Board
from tests.fakes.fake_hub import FakeHub, sha256
from tests.store.hub.pulling import REPOSITORY, WEIGHTS, stored_bytes
from tests.store.making import derive, make, named, write_model
from tests.store_chaos.power import Moment

CHUNK_BYTES = 64 * 1024
"""What a power cut may take of what has come, in place of 16 MiB."""
MARK_BYTES = CHUNK_BYTES // 4
"""Between two marks of what has come: that of one being made durable, three may be written."""


def ignore(_done_bytes: int, _total_bytes: int) -> None:
    """Nobody watches."""


@dataclass
class Script:
    """Pulls, imports, derives, replaces, copies, deletes and collects; its end is always the same."""

    hub: FakeHub
    folder: Path
    values: int = 200_000
    """Of four bytes each, in the weights that are pulled."""
    step: str = ""
    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for seed, revision in enumerate(("one", "two")):
            written = write_model(self.folder / revision, fill=float(seed))
            files = {path.name: path.read_bytes() for path in written.iterdir()}
            values = numpy.random.default_rng(seed).integers(0, 2**31, self.values, numpy.int32)
            files[WEIGHTS] = save({"embed.weight": numpy.full((16, 8), float(seed), numpy.float32), "more": values})
            self.revisions[revision] = files
        write_model(self.folder / "own", fill=7.0)
        repository = self.hub.repository(REPOSITORY, self.revisions["two"])
        for revision, files in self.revisions.items():
            repository.commit(files, revision)

    @property
    def weights(self) -> bytes:
        """Of the first revision."""
        return self.revisions["one"][WEIGHTS]

    def come_bytes(self, moment: Moment) -> int:
        """How much of them there is at a moment."""
        begin = f"sha256-{sha256(self.weights)}"
        found = [moment.size_of(folder, begin) for folder in ("blobs", "partial")]
        return next((size for size in found if size is not None), 0)

    async def fetched_again(self, library: Library, come_bytes: int) -> int:
        """Pull, and tell how much is fetched again of what had come of the weights."""
        before = len(self.hub.seen)
        await self.pull(library)
        asked = [seen for seen in self.hub.seen[before:] if sha256(self.weights) in seen.path and seen.method == "GET"]
        if not asked:
            return 0
        start = int(asked[0].headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        return max(come_bytes - start, 0)

    async def pull(self, library: Library, revision: str = "one", name: str = "mine") -> None:
        settings = HubSettings(endpoint=self.hub.endpoint, backoff_seconds=0.001)
        await pull(library, Order(named(name), HubSource(REPOSITORY, revision)), settings, Board())

    async def run(self, library: Library) -> None:
        """All of it."""
        self.step = "pull"
        await self.pull(library)
        self.step = "create"
        make(library, self.folder / "own", "own", system="Be brief.")
        derive(library, "derived", "mine", system="Be kind.")
        self.step = "load"
        library.view(library.get(named("mine")))
        self.step = "replace"
        await self.pull(library, "two")
        self.step = "delete"
        library.copy(named("own"), named("copied"))
        library.delete(named("own"))
        library.collect(older_than_seconds=-1)
        self.step = "done"

    def check_end(self, library: Library) -> None:
        """Everything is there, every byte as it should be, and nothing else."""
        assert sorted(model.name.display for model in library.list()) == [
            "copied:latest", "derived:latest", "mine:latest",
        ]  # fmt: skip
        assert stored_bytes(library, library.get(named("mine"))) == self.revisions["two"]
        assert stored_bytes(library, library.get(named("derived"))) == self.revisions["one"]
        check_clean(library)
        library.collect(older_than_seconds=-1)
        report = check(library)
        needed = {layer.digest for model in library.list() for layer in model.manifest.blobs}
        assert library.blobs.digests() == needed
        assert report.unused_bytes == 0


def check_clean(library: Library) -> None:
    """Nothing is wrong with the store: what it lists is whole, to the last byte."""
    problems = check(library, ignore).problems
    assert not problems, problems
    for model in library.list():
        library.files(model)


def forget(library: Library, name: str) -> None:
    """Delete a model that may not be there."""
    with contextlib.suppress(NotFound):
        library.delete(named(name))


def seeded(*parts: object) -> random.Random:
    """Random numbers that are the same for the same parts."""
    return random.Random(repr(parts))
