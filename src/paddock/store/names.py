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
HUB_HOST = "hf.co"
"""The Hugging Face Hub, under the shortest of its names."""

_HUB_HOSTS = (HUB_HOST, "huggingface.co", "www.huggingface.co")

_HOST = re.compile(r"(?=.{1,255}\Z)[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[0-9]{1,5})?")
"""A name or an address, and a port if need be. Ollama allows 350 characters; no host has more than 255, and no
folder's name."""
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_HUB_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
"""Of an organisation or a repository on the Hub, which may be longer than Ollama's, and have dots in both."""
_UNSAFE = re.compile(r"(?i).*\.|(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?")
"""What some file systems take for another name, or for a device."""
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class ModelName:
    """A full name: `host/namespace/model:tag`. The case is as written; `same_as` compares without it."""

    host: str
    namespace: str
    model: str
    tag: str

    def __post_init__(self) -> None:
        own = (_HUB_PART, _HUB_PART) if self.is_on_hub else (_NAMESPACE, _MODEL)
        parts = astuple(self)
        if not all(pattern.fullmatch(part) for pattern, part in zip((_HOST, *own, _MODEL), parts, strict=True)):
            raise InvalidName("invalid model name")
        if any(_UNSAFE.fullmatch(part) for part in parts):
            raise InvalidName("invalid model name")

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """A name as users write it, `[scheme://][host/][namespace/]model[:tag]`, with Ollama's defaults; every name of
        the Hub's host becomes `hf.co`.

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
        return cls(HUB_HOST if host.lower() in _HUB_HOSTS else host, namespace, model, tag)

    @property
    def is_on_hub(self) -> bool:
        """Whether it names a repository on the Hugging Face Hub, and its tag a revision there."""
        return self.host.lower() in _HUB_HOSTS

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
