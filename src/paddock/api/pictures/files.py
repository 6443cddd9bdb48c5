"""Pictures that are handed out by address: a file each in a private folder, under a name that nobody can guess."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import NotFound

LIFE_SECONDS = 3600.0
MOST_FILES = 200
MOST_BYTES = 1024**3


@dataclass(frozen=True)
class _Kept:
    size_bytes: int
    until: float


class PictureFiles:
    """Each picture is here for an hour, fewer minutes where too many came after it. The folder goes with this object,
    at the latest with the server. Used from one event loop alone."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        most_files: int = MOST_FILES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._clock = clock
        self._most_files = most_files
        self._most_bytes = most_bytes
        self._folder: Path | None = None
        self._kept: dict[str, _Kept] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def keep(self, data: bytes, extension: str) -> str:
        """Take in a file; returns the name under which it can be read."""
        name = f"{secrets.token_urlsafe(24)}.{extension}"
        path = self._place(name)
        await asyncio.to_thread(path.write_bytes, data)
        self._kept[name] = _Kept(len(data), self._clock() + LIFE_SECONDS)
        self._drop(self._too_many())
        self._arm()
        return name

    async def read(self, name: str) -> bytes:
        """The file of a name. NotFound for one that never was, or is no longer."""
        self._drop(self._too_old())
        if name in self._kept:
            try:
                return await asyncio.to_thread(self._place(name).read_bytes)
            except FileNotFoundError:
                self._kept.pop(name, None)
        raise NotFound("There is no such picture here: they are kept for an hour.")

    def _place(self, name: str) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="paddock-pictures-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder / name

    def _too_old(self) -> list[str]:
        now = self._clock()
        return [name for name, kept in self._kept.items() if kept.until <= now]

    def _too_many(self) -> list[str]:
        """The oldest, which came first, until the others are within the bounds; the newest always stays."""
        count, size_bytes = len(self._kept), sum(kept.size_bytes for kept in self._kept.values())
        dropped = []
        for name, kept in list(self._kept.items())[:-1]:
            if count <= self._most_files and size_bytes <= self._most_bytes:
                break
            dropped.append(name)
            count, size_bytes = count - 1, size_bytes - kept.size_bytes
        return dropped

    def _drop(self, names: list[str]) -> None:
        for name in names:
            del self._kept[name]
            self._place(name).unlink(missing_ok=True)

    def _arm(self) -> None:
        """Have the oldest removed when its time has come, also where nobody asks any more."""
        if self._timer is None and self._kept:
            wait_seconds = next(iter(self._kept.values())).until - self._clock()
            self._timer = asyncio.get_running_loop().call_later(max(0.0, wait_seconds) + 1.0, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._drop(self._too_old())
        self._arm()
