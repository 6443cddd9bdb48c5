"""Power cuts and kills at every point of a store's life, simulated: the store is right after each, and goes on."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from paddock.store.library import Library
from paddock.store.transfer import marks
from tests.fakes.fake_hub import FakeHub
from tests.store_chaos.power import Crash, Disk, Moment
from tests.store_chaos.script import CHUNK_BYTES, MARK_BYTES, Script, check_clean, seeded

PIECE_BYTES = 256 * 1024
"""Of what comes, written at once at most: then a chunk is synced while the next are there already."""
FAR_FUTURE = 2.0**40


@dataclass
class Figures:
    """How a campaign went."""

    crashes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By step and kind."""
    most_again_bytes: int = 0
    """Fetched again after a crash, at most."""

    def __str__(self) -> str:
        rows = [f"  {kind:28} {step:8} {count:5}" for (kind, step), count in sorted(self.crashes.items())]
        total = sum(self.crashes.values())
        return "\n".join(
            [
                f"{total} simulated crashes, store clean after each, all models right in the end;",
                f"at most {self.most_again_bytes} bytes fetched again of what had come (a chunk is {CHUNK_BYTES})",
                *rows,
            ]
        )


async def record(script: Script, root: Path) -> list[Moment]:
    """Every moment of one run."""
    library = Library(root)
    disk = Disk(root, lambda: script.step)
    with disk.recording():
        await script.run(library)
    script.check_end(library)
    return disk.moments


async def crash(script: Script, moment: Moment, kind: Crash, root: Path, seed: int, figures: Figures) -> None:
    """Let it crash there, look at what is left, and do everything again."""
    moment.make(kind, root, seeded(moment.label, kind, seed))
    with pytest.MonkeyPatch.context() as patch:
        if kind is not Crash.KILLED:  # the machine has been started since
            patch.setattr(psutil, "boot_time", lambda: FAR_FUTURE)
        library = Library(root)
        check_clean(library)
        if moment.label == "pull":
            again_bytes = await script.fetched_again(library, script.come_bytes(moment))
            figures.most_again_bytes = max(figures.most_again_bytes, again_bytes)
            assert again_bytes <= CHUNK_BYTES + PIECE_BYTES
        await script.run(library)
    script.check_end(library)
    figures.crashes[kind.value, moment.label] += 1
    shutil.rmtree(root)


async def campaign(hub: FakeHub, folder: Path, count: int) -> Figures:
    """So many crashes, spread evenly over all moments and kinds."""
    figures = Figures()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "CHUNK_BYTES", MARK_BYTES)
        script = Script(hub, folder / "files")
        moments = await record(script, folder / "recorded")
        for number, (moment, kind) in enumerate(spread(moments, count)):
            await crash(script, moment, kind, folder / f"crash-{number}", number, figures)
    return figures


def spread(moments: Sequence[Moment], count: int) -> list[tuple[Moment, Crash]]:
    """Pairs of a moment and a kind, all of them before any comes twice."""
    pairs = [(moment, kind) for moment in moments for kind in Crash]
    if count >= len(pairs):
        return (pairs * (count // len(pairs) + 1))[:count]
    return [pairs[number * len(pairs) // count] for number in range(count)]
