"""What a repository holds, as the Hub tells it, and which of it a model needs. Pure: names and sizes, no files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import msgspec

from paddock.errors import InvalidModelFiles, RemoteFailed
from paddock.store.manifest import WEIGHTS_TYPE
from paddock.store.model_files import MAX_FILES, MAX_TEXT_FILE_BYTES, media_type_of, wanted_names
from paddock.store.transfer.remote_file import RemoteFile, is_plain_name
from paddock.vetting.image_folder import INDEX_FILE
from paddock.vetting.model_config import CONFIG_FILE

MAX_LISTING_BYTES = 32 * 1024 * 1024
MAX_LISTED_FILES = 50_000
MAX_LICENSE_BYTES = 1024 * 1024

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_ID = re.compile(r"[0-9a-f]{40}")
_LICENSE = re.compile(r"(?i)(?:licen[cs]e|copying)(?:[.-][a-z0-9.-]{1,20})?")


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    repository: str
    commit: str
    files: tuple[RemoteFile, ...]
    license: str = ""
    """The licence as the model's card names it."""


@dataclass(frozen=True)
class Chosen:
    """What to fetch."""

    files: tuple[RemoteFile, ...]
    """The model's own, small ones first."""
    license_file: RemoteFile | None

    @property
    def everything(self) -> tuple[RemoteFile, ...]:
        """With the licence."""
        return (*self.files, *([self.license_file] if self.license_file else ()))


class _Lfs(msgspec.Struct):
    sha256: str
    size: int


class _Sibling(msgspec.Struct, rename="camel"):
    rfilename: str
    size: int | None = None
    blob_id: str | None = None
    lfs: _Lfs | None = None


class _Info(msgspec.Struct, rename="camel"):
    sha: str
    siblings: tuple[_Sibling, ...] = ()
    card_data: Any = None


def parse_listing(repository: str, data: bytes) -> Listing:
    """The Hub's answer about a model, with metadata of its files. RemoteFailed if it is none, or means harm."""
    try:
        info = msgspec.json.decode(data, type=_Info)
    except (ValueError, RecursionError):
        raise RemoteFailed(f"What the Hub tells about {repository} cannot be read.") from None
    if not _COMMIT.fullmatch(info.sha) or len(info.siblings) > MAX_LISTED_FILES:
        raise RemoteFailed(f"What the Hub tells about {repository} cannot be right.")
    for sibling in info.siblings:
        check_name(repository, sibling.rfilename)
    files = tuple(file for sibling in info.siblings if (file := _remote_file(sibling)) is not None)
    return Listing(repository, info.sha, files, _license_name(info.card_data))


def check_name(repository: str, name: str) -> None:
    """RemoteFailed for a file name that no repository has, and that a path must never be made of."""
    if not is_plain_name(name):
        raise RemoteFailed(f"{repository} is refused: it lists a file whose name is not one of a file inside it.")


def _remote_file(sibling: _Sibling) -> RemoteFile | None:
    """None for what cannot be checked when it comes; if the model needs it, it is missing."""
    if sibling.lfs is not None:
        size, sha256, git_id = sibling.lfs.size, sibling.lfs.sha256, ""
    else:
        size, sha256, git_id = sibling.size if sibling.size is not None else -1, "", sibling.blob_id or ""
    if not 0 <= size < 2**50 or not (_SHA256.fullmatch(sha256) or _GIT_ID.fullmatch(git_id)):
        return None
    return RemoteFile(sibling.rfilename, size, sha256, git_id)


def _license_name(card: object) -> str:
    if not isinstance(card, dict):
        return ""
    named = card.get("license")
    if named == "other":
        named = card.get("license_name") or named
    return named[:200] if isinstance(named, str) and named.isprintable() else ""


def choose(listing: Listing) -> Chosen:
    """The files of a model among those of a repository: never code, pickles, other formats or second copies.

    InvalidModelFiles, in a sentence that says what there is instead, if there is no model of safetensors.
    """
    by_name = {file.name: file for file in listing.files}
    names = [name for name in wanted_names(by_name) if not _is_second_copy(name, by_name)]
    files = [by_name[name] for name in names if not _LICENSE.fullmatch(name)]
    weights = [file for file in files if media_type_of(file.name) == WEIGHTS_TYPE]
    if not weights or not by_name.keys() & {CONFIG_FILE, INDEX_FILE}:
        raise InvalidModelFiles(f"{listing.repository} holds no model that can be run: {_instead(by_name)}.")
    for file in files:
        if file not in weights and file.size_bytes > MAX_TEXT_FILE_BYTES:
            raise InvalidModelFiles(f"The file {file.name} is larger than {MAX_TEXT_FILE_BYTES} bytes.")
    if len(files) > MAX_FILES:
        raise InvalidModelFiles(f"A model has at most {MAX_FILES} files.")
    ordered = sorted(files, key=lambda file: (file.is_weights, file.name))
    return Chosen(tuple(ordered), _license_file(listing.files))


def _is_second_copy(name: str, names: Iterable[str]) -> bool:
    """Whether these are weights that another file holds as well: a variant (`model.fp16.safetensors`) beside the plain
    ones, or one whole file beside the parts that an index names."""
    if not name.lower().endswith(".safetensors"):
        return False
    stem = name.removesuffix(".safetensors")
    plain, _, variant = stem.rpartition(".")
    has_index = f"{stem}.safetensors.index.json" in names
    if has_index:
        return any(other.startswith(f"{stem}-0") for other in names)
    return bool(plain) and "/" not in variant and f"{plain}.safetensors" in names


def _license_file(files: Iterable[RemoteFile]) -> RemoteFile | None:
    found = [file for file in files if _LICENSE.fullmatch(file.name) and 0 < file.size_bytes <= MAX_LICENSE_BYTES]
    return min(found, key=lambda file: (len(file.name), file.name), default=None)


def _instead(names: Iterable[str]) -> str:
    kinds = {PurePosixPath(name).suffix.lower() for name in names}
    if ".gguf" in kinds:
        return "its files are GGUF; name a repository of MLX or safetensors files instead"
    if kinds & {".bin", ".pt", ".pth", ".ckpt"}:
        return "its weights are pickles, which may run code; name a repository of safetensors files instead"
    return "config.json and *.safetensors, or model_index.json, are missing"
