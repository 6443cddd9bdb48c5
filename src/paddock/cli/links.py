"""Links in a model's folder: a stranger's may lead to a file of one's own, which would be uploaded with the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paddock.errors import InvalidModelFiles

_SNAPSHOTS, _CONTENTS = "snapshots", "blobs"
"""Folders of Hugging Face's cache: files of the first are links to the second."""


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a file of a folder is really elsewhere: neither in it, nor where Hugging Face's cache keeps contents."""
    home = folder.resolve()
    places = [home, *([home.parent.parent / _CONTENTS] if home.parent.name == _SNAPSHOTS else [])]
    return not any(path.resolve().is_relative_to(place) for place in places)


def check_links(files: Mapping[str, Path], folder: Path) -> None:
    """InvalidModelFiles for a link that leads out of the folder. Weights may be elsewhere: nothing else passes for
    them."""
    for name, path in files.items():
        if not name.endswith(".safetensors") and leads_out(path, folder):
            raise InvalidModelFiles(f'"{name}" is a link that leads out of the folder: put the file itself there.')
