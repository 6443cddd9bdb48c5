"""Server-sent events: what streams of OpenAI's and Anthropic's dialects are written as."""

from __future__ import annotations

EVENTS = "text/event-stream"


def event(name: str, message: bytes) -> bytes:
    """An event with a name; `message` is JSON on one line."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), message)


def nameless_event(message: bytes) -> bytes:
    """An event without a name; `message` is JSON on one line, or OpenAI's `[DONE]`."""
    return b"data: %s\n\n" % message
