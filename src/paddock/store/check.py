"""The check of a whole store: every manifest, every blob that one needs, and every file where it belongs. Checking
changes nothing; what it finds damaged can be removed, so that it comes anew."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paddock.errors import StoreError
from paddock.store import conversion, leases, quarantine, serving, stamps
from paddock.store.blobs import CHUNK_BYTES, Blobs
from paddock.store.catalogue import Listed
from paddock.store.durable import told_plainly
from paddock.store.leases import Lease
from paddock.store.library import Library
from paddock.store.manifest import Manifest
from paddock.store.manifests import NAME_PARTS, ManifestFile, Manifests, is_damaged
from paddock.store.transfer import partial
from paddock.store.transfer.partial import Partials

Tell = Callable[[int, int], None]
"""Takes how many bytes were read, and how many are to be."""

_BLOB = re.compile(r"sha256-(?:[0-9a-f]{64}|(?:[0-9a-f]{64}|unknown)-partial-[0-9a-f]{16})")
_STAMP = re.compile(r"\.?sha256-[0-9a-f]{64}(?:\.[0-9a-f]{16})?")
_HEX = re.compile(r"\.?[0-9a-f]+(?:\.draft)?(?:\.[0-9a-f]{16})?")
_ANY = re.compile(r".*", re.DOTALL)
_LAYOUT = {
    "blobs": _BLOB,
    "manifests": _ANY,
    "views": _HEX,
    "facts": _HEX,
    conversion.FOLDER: _ANY,
    stamps.FOLDER: _STAMP,
    leases.FOLDER: _HEX,
    partial.FOLDER: _ANY,
    quarantine.FOLDER: re.compile(r"\.?[0-9a-f-]+\.(?:json|manifest)(?:\.[0-9a-f]{16})?"),
    quarantine.KNOWN_FOLDER: _HEX,
}
"""The folders below the root, and what the names in them are like."""
_FILES = {"lock", serving.LOCK_FILE}
_IGNORED = {".DS_Store"}


class Kind(StrEnum):
    """What is wrong."""

    MANIFEST = "manifest"
    MISSING = "missing"
    SIZE = "size"
    CONTENT = "content"
    STRAY = "stray"
    ABANDONED = "abandoned"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    kind: Kind
    what: str
    """A file below the root of the store, or a digest."""
    explanation: str
    models: tuple[str, ...] = ()
    """Those that it concerns."""

    @property
    def has_wrong_content(self) -> bool:
        """Whether it is a blob that is there, and not what it should be."""
        return self.kind in (Kind.SIZE, Kind.CONTENT)


@dataclass(frozen=True)
class Report:
    """What a check found."""

    models: int
    blobs: int
    size_bytes: int
    """Of the blobs that models need, each once."""
    unused_bytes: int
    """Of what a collection would free."""
    problems: tuple[Problem, ...]

    @property
    def damaged(self) -> tuple[str, ...]:
        """The models that something is wrong with."""
        return tuple(sorted({model for problem in self.problems for model in problem.models}))


def check(library: Library, tell: Tell | None = None) -> Report:
    """Check a store; with `tell`, read all blobs too, and tell how far that is. It may be in use. StoreError."""
    manifests, blobs = Manifests(library.root), library.blobs
    with library.leases.take() as lease:
        found = _hold_all(manifests, lease)
        needed = _Needed.of(found)
        problems = [*_unreadable(found), *_put_aside(manifests), *needed.missing(blobs)]
        if tell is not None:
            problems += needed.changed(blobs, tell)
    problems += _strays(library.root)
    problems += _abandoned(library.root)
    return Report(
        models=len(found),
        blobs=len(needed.sizes),
        size_bytes=sum(needed.sizes.values()),
        unused_bytes=library.collect(is_dry=True).freed_bytes,
        problems=tuple(problems),
    )


def remove_damaged(library: Library, report: Report) -> tuple[str, ...]:
    """Remove the blobs that a check found damaged and that still are; returns their digests."""
    wrong = {problem.what for problem in report.problems if problem.has_wrong_content}
    removed = tuple(digest for digest in sorted(wrong) if not library.blobs.is_intact(digest))
    for digest in removed:
        library.blobs.remove(digest)
    return removed


def _hold_all(manifests: Manifests, lease: Lease) -> list[ManifestFile]:
    """All manifests, with a lease on what they need."""
    found: list[ManifestFile] = []

    def needed() -> set[str]:
        found.extend(filter(None, map(manifests.read_exactly, manifests.names())))
        return {digest for file in found for digest in quarantine.digests_in(file.data)}

    lease.add_found(needed)
    return found


@dataclass(frozen=True)
class _Needed:
    """The blobs that models need: their sizes, and which models they are."""

    sizes: dict[str, int]
    models: dict[str, list[str]]

    @classmethod
    def of(cls, found: list[ManifestFile]) -> _Needed:
        sizes: dict[str, int] = {}
        models: dict[str, list[str]] = defaultdict(list)
        for file in found:
            manifest = _parsed(file)
            for layer in set(manifest.blobs) if manifest else ():
                sizes[layer.digest] = layer.size
                models[layer.digest].append(file.name.display)
        return cls(sizes, models)

    def missing(self, blobs: Blobs) -> Iterator[Problem]:
        for digest, size_bytes in self.sizes.items():
            if not blobs.has(digest):
                yield self._problem(Kind.MISSING, digest, "is missing")
            elif (found_bytes := blobs.size(digest)) != size_bytes:
                yield self._problem(Kind.SIZE, digest, f"has {found_bytes} bytes in place of {size_bytes}")

    def changed(self, blobs: Blobs, tell: Tell) -> Iterator[Problem]:
        """Reads every blob that is there, whether it is needed or not."""
        with told_plainly():
            sizes = {digest: status.st_size for digest, status in blobs.present() if blobs.has(digest)}
        counted = _Counted(tell, sum(sizes.values()))
        for digest in sizes:
            if _hash_of(blobs.path(digest), counted) not in (digest, ""):
                yield self._problem(Kind.CONTENT, digest, "does not hold what its name says")

    def _problem(self, kind: Kind, digest: str, explanation: str) -> Problem:
        return Problem(kind, digest, explanation, tuple(sorted(self.models.get(digest, ()))))


def _parsed(file: ManifestFile) -> Manifest | None:
    try:
        return Manifest.parse(file.data)
    except StoreError:
        return None


@dataclass
class _Counted:
    """How much of everything was read."""

    tell: Tell
    total_bytes: int
    done_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        self.done_bytes += size_bytes
        self.tell(self.done_bytes, self.total_bytes)


def _hash_of(path: Path, counted: _Counted) -> str:
    """The digest of a file's content; empty if it is gone."""
    sha256 = hashlib.sha256()
    with told_plainly():
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return ""
        with file:
            while chunk := file.read(CHUNK_BYTES):
                sha256.update(chunk)
                counted.add(len(chunk))
    return f"sha256:{sha256.hexdigest()}"


def _unreadable(found: list[ManifestFile]) -> Iterator[Problem]:
    for file in found:
        if _parsed(file) is None:
            how = "is damaged" if is_damaged(file.data) else "is not understood"
            yield Problem(Kind.MANIFEST, file.name.display, f"its manifest {how}", (file.name.display,))


def _put_aside(manifests: Manifests) -> Iterator[Problem]:
    names = {name.key for name in manifests.names()}
    for aside in manifests.quarantine.kept():
        if aside.name not in names:
            yield Problem(Kind.MANIFEST, aside.name, "its manifest was damaged and is put aside", (aside.name,))


def _strays(root: Path) -> Iterator[Problem]:
    """Files that have no place in a store."""
    with told_plainly():
        for entry in sorted(root.iterdir()):
            pattern = _LAYOUT.get(entry.name)
            if pattern is None or not entry.is_dir():
                if entry.name not in _FILES | _IGNORED:
                    yield _stray(root, entry)
                continue
            names = (path for path in sorted(entry.iterdir()) if path.name not in _IGNORED)
            yield from (_stray(root, path) for path in names if not pattern.fullmatch(path.name))
        yield from (_stray(root, path) for path in _misplaced(root / "manifests"))


def _misplaced(folder: Path) -> Iterator[Path]:
    """Files among the manifests that are none by their place or their name."""
    for at, _, names in os.walk(folder):  # passes over what goes away meanwhile
        for path in (Path(at, name) for name in sorted(names)):
            is_leftover = path.name.startswith(".")  # of a crash while it was written; a collection removes it
            if not is_leftover and not _is_name(path.relative_to(folder).parts):
                yield path


def _is_name(parts: tuple[str, ...]) -> bool:
    return len(parts) == NAME_PARTS and Listed(parts, (0, 0, 0)).name is not None


def _stray(root: Path, path: Path) -> Problem:
    return Problem(Kind.STRAY, path.relative_to(root).as_posix(), "has no place in a store")


def _abandoned(root: Path) -> Iterator[Problem]:
    with told_plainly():
        for path in Partials(root).abandoned():
            what = path.relative_to(root).as_posix()
            yield Problem(Kind.ABANDONED, what, "is of a download that nobody has gone on with for a week")
