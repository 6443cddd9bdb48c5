"""Keys in a home folder, and the headers that bring them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paddock.keys import Key, KeyFile, Terms, new_key


@dataclass(frozen=True)
class Issued:
    """A key, and what whoever has it sends."""

    key: Key
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}


def issue(home: Path, name: str = "someone", terms: Terms | None = None) -> Issued:
    """Make a key as the command line does."""
    key, secret = new_key(name, terms or Terms())
    KeyFile(home).add(key)
    return Issued(key, secret)
