"""What was found in the files of models whose own description does not say it, kept so that a listing need not read
thousands of headers again. Losing it costs time and nothing else."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import msgspec

from paddock.errors import StoreError
from paddock.store.durable import FOLDER_MODE, replace_file
from paddock.store.facts import ModelFacts
from paddock.store.stored_config import StoredConfig

_log = logging.getLogger(__name__)


class KnownFacts:
    """The folder of facts, one file for each manifest's digest. Nothing here locks: each file is written at once."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "facts"

    def read(self, digest: str) -> ModelFacts | None:
        """The facts of the model with this manifest; None where nothing is noted of it."""
        try:
            return msgspec.json.decode((self._folder / digest).read_bytes(), type=StoredConfig).facts
        except (OSError, ValueError):
            return None

    def note(self, digest: str, facts: ModelFacts) -> None:
        """Keep them, if the disk takes them."""
        try:
            self._folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            replace_file(self._folder / digest, StoredConfig.of(facts).encode(), is_durable=False)
        except (OSError, StoreError) as error:
            _log.debug("facts of a model could not be kept: %s", error)

    def forget(self, digest: str) -> None:
        """The model is gone. Idempotent."""
        with contextlib.suppress(OSError):
            (self._folder / digest).unlink()

    def keep_only(self, digests: set[str]) -> None:
        """Forget all but those of these manifests."""
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if path.name not in digests:
                    path.unlink()
