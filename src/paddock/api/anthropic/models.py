"""GET /v1/models in Anthropic's shape, for clients that say with a header that they are Anthropic's. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC

import msgspec

from paddock.errors import InvalidField
from paddock.store.library import StoredModel

VERSION_HEADER = "anthropic-version"
"""Every client of Anthropic's sends it, and no other does."""
MAX_LIMIT = 1000
_USUAL_LIMIT = 20


class ModelInfo(msgspec.Struct, kw_only=True, frozen=True, tag="model"):
    """A model."""

    id: str
    display_name: str
    created_at: str
    """When it was last changed: RFC 3339 in UTC."""
    lifecycle: str = "active"


class ModelPage(msgspec.Struct, kw_only=True, frozen=True):
    """Some of the models, newest first."""

    data: tuple[ModelInfo, ...]
    has_more: bool
    """Whether there are more in the direction that was asked for."""
    first_id: str | None
    last_id: str | None


def info_of(model: StoredModel, name: str) -> ModelInfo:
    """A model under a name of its."""
    created = model.modified_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return ModelInfo(id=name, display_name=name, created_at=created)


def page_of(models: Sequence[StoredModel], query: Mapping[str, str]) -> ModelPage:
    """The page that a query asks for with `limit`, `after_id` and `before_id`. InvalidField."""
    found = [info_of(model, model.name.display) for model in models]
    limit = _limit(query.get("limit", ""))
    if before := query.get("before_id"):
        rest = found[: _place(found, before, "before_id")]
        page = rest[max(0, len(rest) - limit) :]
    else:
        after = query.get("after_id")
        rest = found[_place(found, after, "after_id") + 1 :] if after else found
        page = rest[:limit]
    return ModelPage(
        data=tuple(page),
        has_more=len(rest) > len(page),
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
    )


def _limit(text: str) -> int:
    if not text:
        return _USUAL_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:5]) <= MAX_LIMIT):
        raise InvalidField(f'"limit" must be between 1 and {MAX_LIMIT}.', "limit")
    return int(text[:5])


def _place(found: Sequence[ModelInfo], wanted: str, name: str) -> int:
    for place, model in enumerate(found):
        if model.id == wanted:
            return place
    raise InvalidField(f'"{name}" names no model that is here: begin without it.', name)
