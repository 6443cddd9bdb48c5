"""What tests of pulls share: the files of a small model, and a pull that keeps its lines."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy
from safetensors.numpy import save

from paddock.store.hub.pull import Order, pull
from paddock.store.hub.settings import HubSettings
from paddock.store.hub.source import HubSource
from paddock.store.library import Library, StoredModel
from paddock.store.transfer.progress import Line
from paddock.store.transfer.reach import Reach
from tests.store.making import named, write_model
from tests.store.telling import Told

REPOSITORY = "org/repo"
WEIGHTS = "model.safetensors"


def model_bytes(tmp_path: Path, fill: float = 0.0, extra_values: int = 0) -> dict[str, bytes]:
    """A whole model as files by name; its weights are large by the fake Hub's measure."""
    folder = write_model(tmp_path / f"written-{fill}-{extra_values}", fill=fill)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    if extra_values:
        values = numpy.random.default_rng(7).integers(0, 2**31, extra_values, numpy.int32)
        files[WEIGHTS] = save({"embed.weight": numpy.full((16, 8), fill, numpy.float32), "more": values})
    return files


@dataclass
class Puller(Told):
    """Pulls into one library, and remembers the lines of the last pull."""

    library: Library
    settings: HubSettings
    lines: list[Line] = field(default_factory=list)

    def with_settings(self, **changes: Any) -> Puller:
        return Puller(self.library, replace(self.settings, **changes))

    async def __call__(
        self, source: str = REPOSITORY, name: str = "mine", revision: str = "main", reach: Reach | None = None
    ) -> StoredModel:
        order = Order(named(name), HubSource(source, revision))
        return await self.told(lambda board: pull(self.library, order, self.settings, board, reach))


def stored_bytes(library: Library, model: StoredModel) -> dict[str, bytes]:
    """The model's files as they lie in the store, by name."""
    return {name: path.read_bytes() for name, path in library.files(model).items()}


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def left_over(library: Library) -> list[str]:
    """What is on its way in."""
    folder = library.root / "partial"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
