"""Marks: what a file on its way in hashes to as far as the end of each chunk that is on the disk for certain. What came
after the last one may have been lost in a power cut, whatever the file's length says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from paddock.store.durable import sync_file, sync_folder

CHUNK_BYTES = 4 * 1024 * 1024
_HASH_BYTES = 32


class Marks:
    """The marks of one partial, in a file beside it, in order. OSError where that cannot be used."""

    def __init__(self, partial: Path) -> None:
        self._path = path_of(partial)
        self._hashes: list[bytes] = []
        self.chunk_bytes = CHUNK_BYTES

    def read(self, size_bytes: int) -> None:
        """Those of a partial of this size."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        whole = min(len(data) // _HASH_BYTES, size_bytes // self.chunk_bytes)
        self._hashes = [data[start : start + _HASH_BYTES] for start in range(0, whole * _HASH_BYTES, _HASH_BYTES)]
        self.cut(whole)

    @property
    def sure_bytes(self) -> int:
        """How much was on the disk for certain."""
        return len(self._hashes) * self.chunk_bytes

    def at(self, index: int) -> bytes | None:
        """The hash of everything up to the end of a chunk; None if it has no mark yet."""
        return self._hashes[index] if index < len(self._hashes) else None

    def add(self, found: Sequence[bytes]) -> None:
        """The next chunks are on the disk."""
        with self._path.open("r+b" if self._hashes else "wb") as file:
            file.seek(len(self._hashes) * _HASH_BYTES)
            file.write(b"".join(found))
            file.flush()
            sync_file(file.fileno())
        if not self._hashes:  # the names of both files
            sync_folder(self._path.parent)
        self._hashes += found

    def cut(self, count: int) -> None:
        """Forget all but the first of them."""
        del self._hashes[count:]
        if not self._hashes:
            self._path.unlink(missing_ok=True)
        else:
            os.truncate(self._path, count * _HASH_BYTES)


def path_of(partial: Path) -> Path:
    """Where the marks of a partial are."""
    return partial.with_name(f"{partial.name}.marks")
