"""Signatures of thinking. Anthropic's prove who wrote it; here nobody checks them, but clients hand them back.

Thinking that an answer leaves out travels in its signature, so that the next turn of the conversation has it again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

_OMITTED = "omitted."
"""No signature of another maker begins so: the dot is no letter of base64."""


def signature_of(thinking: str, *, is_omitted: bool) -> str:
    """The signature of a block of thinking, never empty."""
    data = thinking.encode() if is_omitted else hashlib.sha256(thinking.encode()).digest()
    return (_OMITTED if is_omitted else "") + base64.b64encode(data).decode()


def omitted_thinking(signature: str) -> str:
    """The thinking that a signature holds; empty if it holds none."""
    if not signature.startswith(_OMITTED):
        return ""
    try:
        return base64.b64decode(signature.removeprefix(_OMITTED), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
