"""The collector: finds what no model needs and nobody is about to use, and removes it. All under the store's lock."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paddock.store.blobs import Blobs
from paddock.store.durable import told_plainly
from paddock.store.known_facts import KnownFacts
from paddock.store.leases import Leases
from paddock.store.manifests import Manifests
from paddock.store.stamps import Stamps
from paddock.store.transfer.partial import Partials
from paddock.store.views import Views

GRACE_SECONDS = 3600.0
"""How long an upload may wait for the creation that needs it: whoever uploads holds no lease in between."""

_log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What waste was."""

    BLOB = "blobs that no model needs"
    UPLOAD = "uploads that broke off"
    DOWNLOAD = "downloads that nobody has gone on with for a week"
    VIEW = "folders for runners of models that are gone"
    LEFTOVER = "what writing has left"


@dataclass(frozen=True)
class Waste:
    """One thing that may go."""

    kind: Kind
    path: Path
    size_bytes: int


@dataclass(frozen=True)
class Collection:
    """What was found, and removed unless it was only looked for."""

    waste: tuple[Waste, ...]
    put_aside: tuple[str, ...]
    """The names of models whose manifests are damaged, and were moved out of the way."""
    is_certain: bool
    """Whether blobs were looked at: not while nobody knows what a damaged model needs."""

    @property
    def freed_bytes(self) -> int:
        """The sizes of the files together. What other programs have a link to stays on the disk all the same."""
        return sum(waste.size_bytes for waste in self.waste)


class Collector:
    """The collector of one store."""

    def __init__(self, root: Path, blobs: Blobs, manifests: Manifests, views: Views, leases: Leases) -> None:
        self._root = root
        self._blobs = blobs
        self._manifests = manifests
        self._views = views
        self._leases = leases

    def collect(self, older_than_seconds: float, *, is_dry: bool) -> Collection:
        """Remove what may go, or with `is_dry` only tell; put damaged manifests aside. Under the lock. StoreError."""
        in_use = self._manifests.in_use()
        held = self._leases.digests()
        with told_plainly():
            waste = [*self._files(older_than_seconds), *self._unused_views(in_use.manifests, held)]
            if in_use.is_certain:
                waste += self._unused_blobs(in_use.blobs | held, older_than_seconds)
            if not is_dry:
                self._remove(waste)
        for found in in_use.damaged if not is_dry else ():
            _log.warning("the manifest of %s is damaged and is put aside", found.name.display)
            self._manifests.put_aside(found)
        if not is_dry:
            self._manifests.remember_all()
            KnownFacts(self._root).keep_only(in_use.manifests)
        damaged = tuple(found.name.display for found in in_use.damaged)
        return Collection(tuple(waste), damaged, in_use.is_certain)

    def _unused_blobs(self, needed: set[str], older_than_seconds: float) -> Iterator[Waste]:
        for digest, status in self._blobs.present():
            # A link to an old file has that one's time of writing: when it came, its inode changed.
            age_seconds = time.time() - max(status.st_mtime, status.st_ctime)
            if digest not in needed and age_seconds >= older_than_seconds:
                yield Waste(Kind.BLOB, self._blobs.path(digest), status.st_size)

    def _unused_views(self, manifests: set[str], held: set[str]) -> Iterator[Waste]:
        kept = manifests | {digest.removeprefix("sha256:") for digest in held}
        for view in self._views.others(kept):
            yield Waste(Kind.VIEW, view, 0)  # links, whose bytes are the blobs'

    def _files(self, older_than_seconds: float) -> Iterator[Waste]:
        """All that is neither a blob nor a view."""
        uploads = (path for path in self._blobs.dead_uploads() if _age_seconds(path) >= older_than_seconds)
        yield from _wasted(Kind.UPLOAD, uploads)
        yield from _wasted(Kind.DOWNLOAD, Partials(self._root).abandoned())
        yield from _wasted(Kind.LEFTOVER, self._leases.dead())
        yield from _wasted(Kind.LEFTOVER, self._manifests.leftovers())
        digests = {digest for digest, _ in self._blobs.present()}
        stamps = (path for path in Stamps(self._root).of_none(digests) if _age_seconds(path) >= older_than_seconds)
        yield from _wasted(Kind.LEFTOVER, stamps)

    def _remove(self, waste: Iterable[Waste]) -> None:
        partials = Partials(self._root)
        for each in waste:
            if each.kind is Kind.VIEW:
                shutil.rmtree(each.path, ignore_errors=True)
            elif each.kind is Kind.BLOB:
                self._blobs.remove(each.path.name)
            elif each.kind is Kind.UPLOAD:
                self._blobs.remove_upload(each.path)
            elif each.kind is Kind.DOWNLOAD:
                partials.remove(each.path)
            else:
                each.path.unlink(missing_ok=True)


def _wasted(kind: Kind, paths: Iterable[Path]) -> Iterator[Waste]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield Waste(kind, path, path.lstat().st_size)


def _age_seconds(path: Path) -> float:
    """Since the file last changed; forever if it is gone."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return float("inf")
    return time.time() - max(status.st_mtime, status.st_ctime)
