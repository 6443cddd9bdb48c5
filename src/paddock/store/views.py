"""Views: for each model a folder of links to its blobs under the files' own names. It is what a runner is handed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from paddock.store.blobs import Blobs
from paddock.store.durable import FOLDER_MODE, told_plainly
from paddock.store.manifest import Layer, Manifest

_DRAFT = ".draft"


class Views:
    """The folder of views, one per manifest digest. Nothing here locks: `Library` does."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self._folder = root / "views"
        self._blobs = blobs
        with told_plainly():
            self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)

    def make(self, digest: str, manifest: Manifest) -> Path:
        """The view of a manifest, and beside it that of its draft model if it has one, built anew unless they are there
        and whole. All its blobs must be present."""
        view = self._folder / digest
        with told_plainly():
            self._ensure(view, manifest.files)
            if manifest.draft_files:
                self._ensure(draft_view(view), manifest.draft_files)
        return view

    def _ensure(self, view: Path, layers: Sequence[Layer]) -> None:
        if self._is_whole(view, layers):
            return
        building = self._folder / f".{view.name[:16]}.{secrets.token_hex(8)}"
        try:
            self._build(building, layers)
            if view.is_dir():
                _renew(view, building)
            else:
                building.rename(view)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def remove(self, digest: str) -> None:
        """Forget a view; a runner that has its files open keeps them. Idempotent."""
        view = self._folder / digest
        for folder in (view, draft_view(view)):
            shutil.rmtree(folder, ignore_errors=True)

    def others(self, digests: set[str]) -> list[Path]:
        """All views but those of these manifests, and what a crash has left of making some."""
        with told_plainly():
            return [view for view in self._folder.iterdir() if view.name.removesuffix(_DRAFT) not in digests]

    def _is_whole(self, view: Path, layers: Sequence[Layer]) -> bool:
        """Whether each of these files, and no other, leads to its blob."""
        wanted = {layer.file_name: self._blobs.path(layer.digest) for layer in layers}
        if set(_files(view)) != wanted.keys():
            return False
        return all((view / name).exists() and (view / name).samefile(blob) for name, blob in wanted.items())

    def _build(self, building: Path, layers: Sequence[Layer]) -> None:
        for layer in layers:
            link = building / layer.file_name
            link.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            _link(self._blobs.path(layer.digest), link)


def _renew(view: Path, building: Path) -> None:
    """Give a view the files of another one by one, since a runner may be reading it: a blob that came once more is
    another file of the same content."""
    wanted = set(_files(building))
    for name in set(_files(view)) - wanted:
        (view / name).unlink()
    for name in wanted:
        if (view / name).is_dir() and not (view / name).is_symlink():
            shutil.rmtree(view / name)
        (view / name).parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        (building / name).replace(view / name)


def _files(view: Path) -> list[str]:
    """Everything in a view but folders, by its path within."""
    return [str(path.relative_to(view)) for path in view.rglob("*") if path.is_symlink() or not path.is_dir()]


def draft_view(view: Path) -> Path:
    """Where the view of a model's draft is, by the model's own."""
    return view.with_name(view.name + _DRAFT)


def _link(blob: Path, link: Path) -> None:
    """A hard link, so that a model that is being loaded outlives its deletion; a symbolic one where there are none."""
    try:
        os.link(blob, link)
    except OSError:
        link.symlink_to(blob.resolve())
