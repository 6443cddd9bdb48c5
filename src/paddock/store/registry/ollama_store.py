"""What Ollama has on this machine already, in its own store: found by name, to be checked by content."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial as with_given
from pathlib import Path

from paddock.store.manifest import MAX_MANIFEST_BYTES
from paddock.store.names import ModelName
from paddock.store.transfer.adopt import is_file_of
from paddock.store.transfer.fetch import Nearby
from paddock.store.transfer.remote_file import RemoteFile


def nearby(folders: Iterable[Path], root: Path) -> Nearby:
    """Where the blobs of these stores are looked for; `root` is our own, which may be the same folder."""
    return with_given(_candidates, [folder for folder in folders if not _is_same(folder, root)])


def _candidates(folders: Iterable[Path], file: RemoteFile) -> list[Path]:
    paths = (folder / "blobs" / f"sha256-{file.sha256}" for folder in folders)
    return [path for path in paths if is_file_of(path, file.size_bytes)]


def stored_manifest(folders: Iterable[Path], root: Path, name: ModelName) -> bytes | None:
    """The manifest that one of these stores has under a name. Blocks."""
    for folder in folders:
        path = folder / "manifests" / name.relative_path
        try:
            if _is_same(folder, root) or not 0 < path.stat().st_size <= MAX_MANIFEST_BYTES:
                continue
            return path.read_bytes()
        except OSError:
            continue
    return None


def _is_same(folder: Path, root: Path) -> bool:
    try:
        return folder.samefile(root)
    except OSError:
        return False
