"""Frames that wait for the same client, as few as they can be. Pure."""

from __future__ import annotations

from paddock.protocol import Frame, Text, Thinking


def add_to(waiting: list[Frame], frame: Frame) -> None:
    """Append a frame, or make one of it and the last that waits where both are words of the same kind."""
    last = waiting[-1] if waiting else None
    if isinstance(last, Text) and isinstance(frame, Text):
        waiting[-1] = Text(content=last.content + frame.content, logprobs=last.logprobs + frame.logprobs)
    elif isinstance(last, Thinking) and isinstance(frame, Thinking):
        waiting[-1] = Thinking(content=last.content + frame.content, logprobs=last.logprobs + frame.logprobs)
    else:
        waiting.append(frame)
