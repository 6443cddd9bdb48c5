"""What other programs on this machine have of the Hub's files: found by their names, to be checked by their content."""

from __future__ import annotations

import contextlib
from pathlib import Path

from paddock.store.hub.listing import Listing, check_name
from paddock.store.hub.settings import HubSettings
from paddock.store.hub.source import HubSource
from paddock.store.transfer.adopt import is_file_of
from paddock.store.transfer.remote_file import RemoteFile

_ETAG_LENGTHS = {64: "sha256", 40: "git"}


def candidates(settings: HubSettings, listing: Listing, file: RemoteFile) -> list[Path]:
    """Where this machine may have a file already, of the size that it should have: in Hugging Face's cache, whatever
    commit it came with, and in other programs' folders of models."""
    places = [models / listing.repository / file.name for models in settings.model_folders]
    if settings.cache is not None:
        folder = _cache_folder(settings.cache, listing.repository)
        places = [folder / "blobs" / file.etag, folder / "snapshots" / listing.commit / file.name, *places]
    return [path for path in places if is_file_of(path, file.size_bytes)]


def _cache_folder(cache: Path, repository: str) -> Path:
    return cache / f"models--{repository.replace('/', '--')}"


def cached_listing(settings: HubSettings, source: HubSource) -> Listing | None:
    """What Hugging Face's cache has of a repository, for when the Hub cannot be asked: the files of one commit whose
    names in the cache tell what they should hold. None if there is no such commit."""
    if settings.cache is None:
        return None
    folder = _cache_folder(settings.cache, source.repository)
    commit = source.revision
    with contextlib.suppress(OSError, UnicodeDecodeError):
        commit = (folder / "refs" / source.revision).read_text("ascii").strip()
    snapshot = folder / "snapshots" / commit
    if len(commit) != 40 or not commit.isalnum() or not snapshot.is_dir():
        return None
    paths = (path for path in sorted(snapshot.rglob("*")) if path.is_symlink())
    files = [file for path in paths if (file := _cached_file(path, path.relative_to(snapshot).as_posix())) is not None]
    for file in files:
        check_name(source.repository, file.name)
    return Listing(source.repository, commit, tuple(files))


def _cached_file(path: Path, name: str) -> RemoteFile | None:
    """A file of the cache is a link to one that is named by the hash of its content."""
    etag = path.readlink().name
    kind = _ETAG_LENGTHS.get(len(etag))
    try:
        size_bytes = path.stat().st_size
    except OSError:
        return None
    if kind is None or not all(letter in "0123456789abcdef" for letter in etag):
        return None
    return RemoteFile(name, size_bytes, *((etag, "") if kind == "sha256" else ("", etag)))
