"""A disk that is full at any one point of a store's life: the error says so, nothing is lost, and it goes on with room.

The system's calls that take room fail as they do on a full disk; one at a time, wherever the campaign says.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import StoreFull
from paddock.store import blobs, durable
from paddock.store.library import Library
from paddock.store.transfer import marks, partial
from tests.fakes.fake_hub import FakeHub
from tests.store.hub.pulling import stored_bytes
from tests.store_chaos.script import MARK_BYTES, Script, check_clean

PLACES = (
    (blobs, "write_all"), (partial, "write_all"), (blobs, "sync_file"), (partial, "sync_file"), (durable, "_write_new"),
    (blobs, "reserve"), (partial, "reserve"), (os, "mkdir"), (os, "write"),
)  # fmt: skip
"""What takes room on a disk."""


@dataclass
class Fault:
    """Fails the call of this number, counted from 0 over all places; counts them where it is None."""

    number: int | None = None
    calls: int = 0
    place: str = ""
    """Where it failed."""

    @contextmanager
    def waiting(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for module, name in PLACES:
                patch.setattr(module, name, self._failing(f"{module.__name__}.{name}", getattr(module, name)))
            yield

    def _failing(self, place: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls - 1 == self.number:
                self.place = place
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*given, **named)

        return failing


@dataclass
class Figures:
    """How a campaign went."""

    points: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By step and place."""
    told: int = 0
    in_bytes: int = 0
    """So many errors named the bytes that were short."""
    unharmed: int = 0
    """So often what failed was not needed, and everything went on."""

    def __str__(self) -> str:
        rows = [f"  {step:8} {place:44} {count:4}" for (step, place), count in sorted(self.points.items())]
        head = (
            f"{self.points.total()} points of a full disk: {self.told} errors that say so, {self.in_bytes} with the "
            f"bytes that are short, {self.unharmed} that nobody noticed; store clean after each, all right with room"
        )
        return "\n".join([head, *rows])


async def campaign(hub: FakeHub, folder: Path, count: int) -> Figures:
    """So many points, spread evenly over a run."""
    figures = Figures()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "CHUNK_BYTES", MARK_BYTES)
        script, whole = Script(hub, folder / "files"), Fault()
        with whole.waiting():
            await script.run(Library(folder / "counted"))
        for number in range(count):
            await _fail(script, Fault(number * whole.calls // count), folder / f"full-{number}", figures)
    return figures


async def _fail(script: Script, fault: Fault, root: Path, figures: Figures) -> None:
    library = Library(root)
    try:
        with fault.waiting():
            await script.run(library)
        figures.unharmed += 1
    except StoreFull as error:
        figures.told += 1
        figures.in_bytes += "bytes are short" in error.message
    if fault.place:
        figures.points[script.step, fault.place.removeprefix("paddock.store.")] += 1
    check_clean(library)
    _check_nothing_is_lost(script, library)
    await script.run(library)
    script.check_end(library)
    shutil.rmtree(root)


def _check_nothing_is_lost(script: Script, library: Library) -> None:
    """What was there before stays as it was, or is already what it was to become."""
    for model in library.list():
        if model.name.model == "mine":
            assert stored_bytes(library, model) in script.revisions.values()
