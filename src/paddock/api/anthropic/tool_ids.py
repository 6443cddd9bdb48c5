"""Ids of calls: Anthropic's begin with a word of their own, behind which ours stand. Pure."""

from __future__ import annotations

import re
import secrets

_PREFIX = "toolu_"
_SANE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def anthropic_id(own: str) -> str:
    """The id that a client is told of a call. Some models make ids that Anthropic's clients would not take."""
    return _PREFIX + (own if _SANE.fullmatch(own) else secrets.token_hex(12))


def own_id(given: str) -> str:
    """The id that the call has for its model, from the one that a client hands back."""
    return given.removeprefix(_PREFIX) or given
