"""Which repository and revision of the Hub a name means. Pure: whether there is such a repository, the Hub knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from paddock.store.names import DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, ModelName

MAIN = "main"
"""The revision where a name says none."""

_PACKING = re.compile(r"(?i)\d{1,2}-?bits?|u?int[248]|mxfp[48]|nvfp4|bf16|fp16|fp8")
"""How weights are packed, in the words that repositories of MLX models end in."""


@dataclass(frozen=True)
class HubSource:
    """A repository at a revision, which is a branch, a tag or a commit."""

    repository: str
    """`ORG/REPO`"""
    revision: str = MAIN

    @property
    def packed(self) -> HubSource | None:
        """The repository beside it that is meant where the revision is none but a way of packing: `ORG/REPO:4bit` is
        `ORG/REPO-4bit`. None where it does not read like one."""
        if not _PACKING.fullmatch(self.revision):
            return None
        return HubSource(f"{self.repository}-{self.revision}")

    def __str__(self) -> str:
        return self.repository if self.revision == MAIN else f"{self.repository}:{self.revision}"


def hub_source(name: ModelName, short_names: Mapping[str, HubSource]) -> HubSource | None:
    """Where on the Hub a model of this name comes from; None if it comes from elsewhere, or is unknown.

    `hf.co/ORG/REPO` and plain `ORG/REPO` are repositories, the tag being the revision. A name without an organisation
    is looked up among the short names, by `ModelName.key`.
    """
    if name.host.lower() == DEFAULT_HOST and name.namespace.lower() == DEFAULT_NAMESPACE:
        return short_names.get(name.key)
    if not (name.is_on_hub or name.host.lower() == DEFAULT_HOST):
        return None
    revision = MAIN if name.tag.lower() == DEFAULT_TAG else name.tag
    return HubSource(f"{name.namespace}/{name.model}", revision)
