"""A file that another server has, as it announces it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DEVICE = re.compile(r"(?i)(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?")
_LONGEST_NAME_BYTES = 255
"""Of a part of a path; no file system takes more."""


@dataclass(frozen=True)
class RemoteFile:
    """A file, and by what its content is known: at least one of the two."""

    name: str
    """As messages call it."""
    size_bytes: int
    sha256: str = ""
    """In hex; of the Hub's files only those that are stored as large have it."""
    git_id: str = ""
    """The SHA-1 that git has for a small file."""

    @property
    def identity(self) -> str:
        """The same for the same content, wherever it comes from."""
        return f"sha256-{self.sha256}" if self.sha256 else f"git-{self.git_id}"

    @property
    def etag(self) -> str:
        """What the Hub, and its cache on disk, call the content."""
        return self.sha256 or self.git_id

    @property
    def is_weights(self) -> bool:
        """Whether this is a file of tensors, whose header can be looked at only when it is here."""
        return self.name.lower().endswith(".safetensors")


def is_plain_name(name: str) -> bool:
    """Whether a name can be one of a file in a folder or below it: no way out of it, no device, nothing unprintable."""
    parts = name.split("/")
    return (
        not any(part in ("", ".", "..") or _DEVICE.fullmatch(part) for part in parts)
        and not any(len(part.encode("utf-8", "replace")) > _LONGEST_NAME_BYTES for part in parts)
        and "\\" not in name
        and name.isprintable()
    )
