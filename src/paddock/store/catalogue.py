"""What a listing has read, kept for the next one: a manifest is read again when its file is another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Generic, TypeVar

from paddock.errors import InvalidName
from paddock.store.names import ModelName

MOST_SPARE_ENTRIES = 1000
"""Of models that are gone, or not for whoever asked last."""
SETTLED_NS = 2_000_000_000
"""A file that was read so soon after it was written may be written again without its stamp telling: clocks of file
systems are coarse, and inodes come back."""

_Model = TypeVar("_Model")

Stamp = tuple[int, int, int]
"""Inode, time of change in nanoseconds and size: another content has another one."""


@dataclass(frozen=True)
class Listed:
    """A file that is a manifest by its place, unread."""

    parts: tuple[str, ...]
    """Of its path, in the case that is on disk."""
    stamp: Stamp

    @property
    def name(self) -> ModelName | None:
        """None if nothing may be called so."""
        try:
            return ModelName(*self.parts)
        except InvalidName:
            return None


@dataclass(frozen=True)
class _Entry(Generic[_Model]):
    stamp: Stamp
    is_settled: bool
    model: _Model
    blobs: frozenset[str]
    """The digests of those that it was read from."""


class Catalogue(Generic[_Model]):
    """The models of one library as they were last read. May be used from any thread."""

    def __init__(self, read: Callable[[Listed], tuple[_Model, frozenset[str]] | None]) -> None:
        """`read` gives a model and the digests of the blobs that it was read from; None for what cannot be read."""
        self._read = read
        self._entries: dict[tuple[str, ...], _Entry[_Model]] = {}

    def models(self, listed: Iterable[Listed], present: Set[str] = frozenset()) -> list[_Model]:
        """The models of these manifests, where they can be read; `present` are the digests of all blobs."""
        found = {each.parts: entry for each in listed if (entry := self._entry(each, present)) is not None}
        if len(self._entries) > len(found) + MOST_SPARE_ENTRIES:
            self._entries = dict(found)
        return [entry.model for entry in found.values()]

    def _entry(self, listed: Listed, present: Set[str]) -> _Entry[_Model] | None:
        known = self._entries.get(listed.parts)
        if known is not None and known.is_settled and known.stamp == listed.stamp and known.blobs <= present:
            return known
        is_settled = time.time_ns() - listed.stamp[1] > SETTLED_NS
        result = self._read(listed)
        if result is None:
            return None
        entry = self._entries[listed.parts] = _Entry(listed.stamp, is_settled, *result)
        return entry
