"""What all parts of the answer to one request have in common."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from paddock.api.openai.fields import fingerprint_of, new_id
from paddock.api.openai.sampled_body import SampledBody
from paddock.store.library import StoredModel


@dataclass(frozen=True)
class Heading:
    """Told in every chunk."""

    id: str
    created: int
    """Seconds since 1970."""
    model: str
    """As the client wrote it."""
    fingerprint: str
    tells_usage: bool
    """Whether a stream ends in what it took."""

    @classmethod
    def of(cls, prefix: str, body: SampledBody, model: StoredModel) -> Heading:
        """A new one; `prefix` is what the ids of such answers begin with."""
        return cls(new_id(prefix), int(time.time()), body.model or "", fingerprint_of(model), body.tells_usage)

    def fields(self) -> dict[str, Any]:
        """Those of a chunk that are the same in every one."""
        return {
            "id": self.id,
            "created": self.created,
            "model": self.model,
            "usage": None if self.tells_usage else msgspec.UNSET,
            "system_fingerprint": self.fingerprint,
        }
