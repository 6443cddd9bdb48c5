"""Small files that a user writes into Paddock's home folder, such as tables of names."""

from __future__ import annotations

from pathlib import Path

from paddock.errors import InvalidOption
from paddock.store.durable import told_plainly

MAX_OWN_FILE_BYTES = 1024 * 1024


def read_own_file(home: Path | None, name: str) -> bytes | None:
    """What is in the file of this name; None where there is none, or no home. InvalidOption for one that is too large,
    StoreError for one that cannot be read. Blocks."""
    path = home / name if home else None
    with told_plainly():
        if path is None or not path.is_file():
            return None
        if path.stat().st_size > MAX_OWN_FILE_BYTES:
            raise InvalidOption(f"{name} is larger than {MAX_OWN_FILE_BYTES} bytes.")
        return path.read_bytes()
