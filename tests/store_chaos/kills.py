"""Real servers, killed at random bytes of a pull: the store is right after each kill, and the next server goes on where
the last one was."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from paddock.store.library import Library
from paddock.store.transfer.marks import CHUNK_BYTES
from tests.fakes.fake_hub import FakeHub, sha256
from tests.fakes.waiting import until
from tests.road.conftest import Road, start_road
from tests.store.hub.pulling import REPOSITORY, WEIGHTS, model_bytes, stored_bytes
from tests.store_chaos.script import check_clean, forget, seeded

VALUES = 10_000_000
"""Of four bytes each, in the weights: two whole chunks and a half."""
NAME = f"hf.co/{REPOSITORY}"


@dataclass
class Figures:
    """How a campaign went."""

    kills: int = 0
    resumed: int = 0
    """So often the next server asked for what was missing only."""
    whole: int = 0
    """So often a pull came to its end, and every byte was right."""
    again_bytes: list[int] = field(default_factory=list)
    """After each kill, what was fetched again of what had come."""

    def __str__(self) -> str:
        return (
            f"{self.kills} kills of a server at random bytes of a pull, store clean after each; {self.resumed} gone on "
            f"with, at most {max(self.again_bytes, default=0)} bytes fetched twice (a chunk is {CHUNK_BYTES}); "
            f"{self.whole} pulls came to their end with every byte right"
        )


@dataclass
class Campaign:
    """Kills of servers that pull one model into one store."""

    hub: FakeHub
    folder: Path
    figures: Figures = field(default_factory=Figures)

    def __post_init__(self) -> None:
        self.files = model_bytes(self.folder, extra_values=VALUES)
        self.hub.repository(REPOSITORY, self.files)
        self.weights = sha256(self.files[WEIGHTS])
        self.library = Library(self.folder / "models")

    async def run(self, kills: int) -> Figures:
        """So many kills, and after them a pull to its end."""
        rng = seeded("kills")
        for _ in range(kills):
            await self._kill(rng.random() * 1.1)
        await self._kill(2.0)  # which it never comes to, so that the pull is whole before
        assert self.figures.whole
        return self.figures

    async def _kill(self, part: float) -> None:
        """Kill a server when it was sent about so much of what is missing of the weights."""
        come_bytes, before = self.come_bytes, len(self.hub.seen)
        goal = self.hub.sent[self.weights] + part * (len(self.files[WEIGHTS]) - come_bytes)
        road = self._start()
        pulling = asyncio.create_task(self._pull(road))
        await until(lambda: self.hub.sent[self.weights] >= goal or pulling.done(), 60, "the bytes of this kill")
        road.process.kill()
        road.process.wait()
        road.client.close()
        with contextlib.suppress(aiohttp.ClientError):
            await pulling
        self.figures.kills += 1
        self._count(come_bytes, before)
        await asyncio.to_thread(self._check)

    def _count(self, come_bytes: int, before: int) -> None:
        asked = [seen for seen in self.hub.seen[before:] if self.weights in seen.path and seen.method == "GET"]
        if asked and come_bytes:
            ranges = (seen.headers.get("Range", "bytes=0-").removeprefix("bytes=") for seen in asked)
            start = min(int(each.partition("-")[0]) for each in ranges)
            self.figures.resumed += 1
            self.figures.again_bytes.append(max(come_bytes - start, 0))
            assert come_bytes - start <= CHUNK_BYTES

    def _check(self) -> None:
        """The store is right; a model that is whole is looked at byte by byte, and forgotten, so that it comes anew."""
        check_clean(self.library)
        for model in self.library.list():
            assert stored_bytes(self.library, model) == self.files
            self.figures.whole += 1
        forget(self.library, NAME)

    @property
    def come_bytes(self) -> int:
        """What is here of the weights."""
        for folder in ("blobs", "partial"):
            found = (self.library.root / folder).glob(f"sha256-{self.weights}*")
            sizes = [path.stat().st_size for path in found if path.suffix != ".marks"]
            if sizes:
                return max(sizes)
        return 0

    def _start(self) -> Road:
        given = {"HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.folder / "hf")}
        return start_road(self.folder / "home", PADDOCK_MODELS=str(self.library.root), **given)

    async def _pull(self, road: Road) -> None:
        async with aiohttp.ClientSession() as session:
            body = {"model": NAME}
            async with session.post(f"{road.url}/api/pull", json=body) as response:
                lines = [line async for line in response.content]
                assert b"success" in lines[-1], lines[-1]
