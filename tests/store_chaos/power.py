"""A disk whose power can fail: notes before each operation on a folder what would be left of it, and makes that again.

Names and contents count as safe only once they were synced. What a crash leaves is, by its kind:

- `KILLED`: everything as it is, since only the process ended.
- `LOST_DATA`: every name, but of each file only what was synced of it; the rest is gone, or zeros, or torn.
- `LOST_NAMES`: in each folder only the names that were there when it was last synced; contents as above.
"""

from __future__ import annotations

import contextlib
import os
import random
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

OPERATIONS = ("replace", "rename", "link", "unlink", "mkdir", "rmdir", "fsync")
Names = dict[str, int]
"""Inodes by name, of one folder."""


class Crash(Enum):
    """What a crash takes along."""

    KILLED = "process killed"
    LOST_DATA = "power lost, data"
    LOST_NAMES = "power lost, data and names"


@dataclass(frozen=True)
class Moment:
    """How things are right before an operation, by relative paths. Inodes without `contents` are folders."""

    folders: dict[str, Names]
    synced_folders: dict[str, Names]
    contents: dict[int, bytes]
    synced: dict[int, bytes]
    label: Any

    def size_of(self, folder: str, begin: str) -> int | None:
        """Bytes of the file in a folder whose name begins so, shortest first; None if there is none."""
        found = sorted((name for name in self.folders.get(folder, {}) if name.startswith(begin)), key=len)
        return len(self.contents[self.folders[folder][found[0]]]) if found else None

    def make(self, crash: Crash, root: Path, rng: random.Random) -> None:
        """Put into `root` what this crash leaves."""
        names = self.synced_folders if crash is Crash.LOST_NAMES else self.folders
        made: dict[int, Path] = {}
        self._make(".", names, crash, root, rng, made)

    def _make(
        self, folder: str, names: dict[str, Names], crash: Crash, root: Path, rng: random.Random, made: dict[int, Path]
    ) -> None:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, inode in names.get(folder, {}).items():
            path = os.path.normpath(f"{folder}/{name}")
            if inode not in self.contents:
                self._make(path, names, crash, root, rng, made)
            elif inode in made:
                (root / path).hardlink_to(made[inode])
            else:
                (root / path).write_bytes(self._content(inode, crash, rng))
                made[inode] = root / path

    def _content(self, inode: int, crash: Crash, rng: random.Random) -> bytes:
        whole = self.contents[inode]
        if crash is Crash.KILLED:
            return whole
        safe = self.synced.get(inode, b"")
        if safe == whole or not whole.startswith(safe):
            return safe
        rest = len(whole) - len(safe)
        torn = safe + whole[len(safe) : len(safe) + rng.randrange(rest)]
        return rng.choice([safe, torn, torn.ljust(len(whole), b"\0"), safe.ljust(len(whole), b"\0")])


@dataclass
class Disk:
    """The recorder of one folder."""

    root: Path
    label: Callable[[], Any] = lambda: None
    """What each moment is to remember beside the files."""
    moments: list[Moment] = field(default_factory=list)
    _open: dict[int, int] = field(default_factory=dict)
    """A descriptor of each file ever seen, so that no inode comes back as another file."""
    _contents: dict[int, bytes] = field(default_factory=dict)
    _synced: dict[int, bytes] = field(default_factory=dict)
    _synced_folders: dict[str, Names] = field(default_factory=dict)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Note every operation in the block. What is there before it is safe."""
        self._synced_folders = self._look()
        self._synced = dict(self._contents)
        with pytest.MonkeyPatch.context() as patch:
            for name in OPERATIONS:
                patch.setattr(os, name, self._noted(name, getattr(os, name)))
            yield
        for descriptor in self._open.values():
            os.close(descriptor)

    def _noted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **named: Any) -> Any:
            folders = self._look()
            self.moments.append(
                Moment(folders, dict(self._synced_folders), dict(self._contents), dict(self._synced), self.label())
            )
            result = real(*given, **named)
            if name == "fsync":
                self._sync(given[0])
            return result

        return noted

    def _sync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if not stat.S_ISDIR(status.st_mode):
            if status.st_ino in self._contents:
                self._synced[status.st_ino] = self._contents[status.st_ino]
            return
        for folder, names in self._look().items():
            if (self.root / folder).stat().st_ino == status.st_ino:
                self._synced_folders[folder] = names

    def _look(self) -> dict[str, Names]:
        """The names in each folder; contents are noted on the way."""
        folders: dict[str, Names] = {}
        for at, _, _ in os.walk(self.root):
            names: Names = {}
            with contextlib.suppress(FileNotFoundError), os.scandir(at) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        names[entry.name] = self._noted_inode(entry)
            folders[os.path.normpath(os.path.relpath(at, self.root))] = names
        return folders

    def _noted_inode(self, entry: os.DirEntry[str]) -> int:
        inode = entry.inode()
        if entry.is_file(follow_symlinks=False):
            if inode not in self._open:
                self._open[inode] = os.open(entry.path, os.O_RDONLY)
            content = os.pread(self._open[inode], entry.stat().st_size, 0)
            if self._contents.get(inode) != content:  # one object for all moments that have it
                self._contents[inode] = content
        return inode
