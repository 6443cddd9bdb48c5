"""Names of models and digests of blobs: the grammar, and where a name lies on disk.

Both end up in paths, so nothing but what the grammar allows gets through: no separator, no leading dot, no "..".
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from pathlib import Path

from paddock.errors import InvalidName

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")
"""Ollama allows 350 characters; no file system we run on has folder names longer than 255, and no host does."""
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class ModelName:
    """A full name: `host/namespace/model:tag`. The case is as written; `same_as` compares without it."""

    host: str
    namespace: str
    model: str
    tag: str

    def __post_init__(self) -> None:
        patterns = (_HOST, _NAMESPACE, _MODEL, _MODEL)
        if not all(pattern.fullmatch(part) for pattern, part in zip(patterns, astuple(self), strict=True)):
            raise InvalidName("invalid model name")

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """A name as users write it, `[scheme://][host/][namespace/]model[:tag]`, with Ollama's defaults.

        InvalidName for anything else, an empty part between separators included.
        """
        path, tag = text, DEFAULT_TAG
        if ":" in text.rpartition("/")[2]:
            path, _, tag = text.rpartition(":")
        head, separator, model = path.rpartition("/")
        if not separator:
            return cls(DEFAULT_HOST, DEFAULT_NAMESPACE, model, tag)
        head, separator, namespace = head.rpartition("/")
        if not separator:
            return cls(DEFAULT_HOST, namespace, model, tag)
        scheme, separator, host = head.rpartition("://")
        if separator and scheme.lower() not in ("http", "https"):
            raise InvalidName("invalid model name")
        return cls(host, namespace, model, tag)

    @property
    def display(self) -> str:
        """The shortest form that means the same: default host and namespace left out, the tag always there."""
        prefix = ""
        if self.host.lower() != DEFAULT_HOST:
            prefix = f"{self.host}/{self.namespace}/"
        elif self.namespace.lower() != DEFAULT_NAMESPACE:
            prefix = f"{self.namespace}/"
        return f"{prefix}{self.model}:{self.tag}"

    @property
    def relative_path(self) -> Path:
        """Where its manifest lies, below the folder of manifests."""
        return Path(self.host, self.namespace, self.model, self.tag)

    @property
    def key(self) -> str:
        """What two spellings of the same name have in common."""
        return "/".join(astuple(self)).lower()

    def same_as(self, other: ModelName) -> bool:
        """Whether both name the same model; case makes no difference."""
        return self.key == other.key


def parse_digest(text: str) -> str:
    """`sha256:` and 64 lower-case hex digits, from `sha256:…` or `sha256-…` in any case; InvalidName otherwise."""
    match = _DIGEST.fullmatch(text)
    if not match:
        raise InvalidName("invalid digest format")
    return f"sha256:{match[1].lower()}"
