"""Short names of models, such as `qwen3`: a table that ships with the package, and one of the user's own above it.

Both are TOML with one table, `names`, from a name without an organisation to a repository on the Hub:

    [names]
    qwen3 = "mlx-community/Qwen3-8B-4bit"
    "qwen3:0.6b" = "mlx-community/Qwen3-0.6B-4bit"
    mine = "hf.co/me/my-model:v2"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from paddock.errors import BadRequest, InvalidName, InvalidOption
from paddock.store.hub.source import HubSource, hub_source
from paddock.store.names import DEFAULT_HOST, DEFAULT_NAMESPACE, ModelName
from paddock.store.own_file import read_own_file

OWN_FILE = "names.toml"
"""What the user's own table is called, in Paddock's home folder."""

ShortNames = Mapping[str, HubSource]
"""By `ModelName.key`."""


def load_short_names(home: Path | None = None) -> ShortNames:
    """The packaged table, with the entries of the file in `home` above it if there is one.

    InvalidOption, with a sentence that names the entry, for a file that makes no sense.
    """
    packaged = resources.files("paddock.store.hub").joinpath("short_names.toml").read_text("utf-8")
    return {**parse_short_names(packaged, "short_names.toml"), **_own(home)}


def _own(home: Path | None) -> ShortNames:
    data = read_own_file(home, OWN_FILE)
    if data is None:
        return {}
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise InvalidOption(f"{OWN_FILE} is not text in UTF-8.") from None
    return parse_short_names(text, OWN_FILE)


def parse_short_names(text: str, label: str) -> ShortNames:
    """The table in a file's text; `label` is what messages call the file. InvalidOption."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        raise InvalidOption(f'{label} is not TOML: write lines such as qwen3 = "ORG/REPO" below [names].') from None
    names = table.get("names", {})
    if table.keys() - {"names"} or not isinstance(names, dict):
        raise InvalidOption(f"{label} may have one table only, which is called names.")
    found: dict[str, HubSource] = {}
    for name, target in names.items():
        key = _key(name, label)
        if key in found:
            raise InvalidOption(f'{label}: "{name[:100]}" is there twice, in letters that differ in case only.')
        found[key] = _target(name, target, label)
    return found


def _key(name: str, label: str) -> str:
    try:
        parsed = ModelName.parse(name)
    except InvalidName:
        parsed = None
    if parsed is None or parsed.host != DEFAULT_HOST or parsed.namespace != DEFAULT_NAMESPACE:
        raise InvalidOption(f'{label}: "{name[:100]}" is no short name: write it as model or "model:tag".')
    return parsed.key


def _target(name: str, target: object, label: str) -> HubSource:
    source = None
    if isinstance(target, str):
        try:
            source = hub_source(ModelName.parse(target), {})
        except BadRequest:
            source = None
    if source is None:
        raise InvalidOption(f'{label}: "{name[:100]}" must lead to a repository on the Hub, as "ORG/REPO".')
    return source
