"""Which registries the user has told us about, and where Ollama keeps the models that it has pulled from them.

The file `registries.toml` in Paddock's home has a table for each, all of it optional:

    ["registry.example.com:5000"]
    username = "me"
    password = "…"                     # or token = "…", sent as it is
    realm = "https://auth.example.com" # where else than at the registry itself tokens are given
    insecure = true                    # it speaks plain http
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from paddock.errors import InvalidOption
from paddock.store.own_file import read_own_file
from paddock.store.transfer.ranges import AHEAD_BYTES, PART_BYTES
from paddock.store.transfer.web import origin_of

OWN_FILE = "registries.toml"
"""What the user's table is called, in Paddock's home folder."""

_OLLAMA_FOLDERS = ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/models")
"""Where its service keeps models on Linux."""


@dataclass(frozen=True)
class Credentials:
    """What a registry is shown. Empty for nobody in particular."""

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    """Sent as it is, in place of the two."""

    def __bool__(self) -> bool:
        return bool(self.username or self.token)


class Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user says of one registry."""

    username: str = ""
    password: str = ""
    token: str = ""
    realm: str = ""
    insecure: bool = False

    def __repr__(self) -> str:
        return "Registry(…)"


@dataclass(frozen=True)
class RegistrySettings:
    """What pulls and pushes need to know besides."""

    ollama_folders: tuple[Path, ...] = ()
    """Stores of Ollama's own on this machine."""
    backoff_seconds: float = 0.5
    """The first pause before something is tried again; it doubles."""
    stall_seconds: float = 30.0
    """How long no byte may come before a connection is given up."""
    part_bytes: int = PART_BYTES
    """What is fetched of a large blob at once."""
    ahead_bytes: int = AHEAD_BYTES
    """What of such parts may be held in memory."""
    chunk_bytes: int = 64 * 1024 * 1024
    """What is sent at once where a registry wants blobs in pieces."""


def read_registry_settings() -> RegistrySettings:
    """The settings of this machine. Blocks."""
    own = os.environ.get("OLLAMA_MODELS", "").strip()
    folders = [Path(own).expanduser()] if own else []
    folders += [Path.home() / ".ollama" / "models", *map(Path, _OLLAMA_FOLDERS)]
    return RegistrySettings(ollama_folders=tuple(folder for folder in folders if _is_store(folder)))


def _is_store(folder: Path) -> bool:
    try:
        return (folder / "manifests").is_dir()
    except OSError:
        return False


def load_registries(home: Path | None) -> Mapping[str, Registry]:
    """The user's table, by lower-case host as it stands in names. InvalidOption, with a sentence that names the entry,
    for one that makes no sense. Blocks."""
    data = read_own_file(home, OWN_FILE)
    if data is None:
        return {}
    try:
        table = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidOption(f'{OWN_FILE} is not TOML: write a table such as ["registry.example.com"].') from None
    return {host.lower(): _registry(host, entry) for host, entry in table.items()}


def _registry(host: str, entry: object) -> Registry:
    try:
        found = msgspec.convert(entry, Registry)
    except msgspec.ValidationError:
        raise InvalidOption(
            f'{OWN_FILE}: "{host[:100]}" may have username, password, token and realm, which are texts, and insecure, '
            "which is true or false."
        ) from None
    if found.realm and (origin_of(found.realm)[0] not in ("http", "https") or not origin_of(found.realm)[1]):
        raise InvalidOption(f'{OWN_FILE}: the realm of "{host[:100]}" must be a web address.')
    return found
