"""Thinking in a form that clients send back without looking into it. It hides nothing: they are told it in words."""

from __future__ import annotations

import base64
import binascii

_MARK = "plain1."


def sealed(thinking: str) -> str:
    """The thinking as `encrypted_content`."""
    return _MARK + base64.b64encode(thinking.encode()).decode()


def unsealed(content: str) -> str | None:
    """The thinking again; None for what `sealed` has not made."""
    if not content.startswith(_MARK):
        return None
    try:
        return base64.b64decode(content.removeprefix(_MARK), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
