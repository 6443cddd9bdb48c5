"""What all messages have in common, and their encoding."""

from __future__ import annotations

from typing import TypeVar

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of all messages: immutable, and strict about what it does not know."""


AnyMessage = TypeVar("AnyMessage", bound=Message)

_encoder = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    """A message as JSON."""
    return _encoder.encode(message)


def decode(data: bytes, kind: type[AnyMessage]) -> AnyMessage:
    """A message of a known kind; raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=kind)
