"""From the tokens of one answer to its frames: text and thinking in whole characters, whole calls of tools, up to a
stop string. It knows no model.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from paddock.protocol import Frame, Text, Thinking, TokenLogprobs, ToolCall
from paddock.runner.engines.base import Prompt
from paddock.runner.engines.text.answer.detokenizer import Decode, stream_of
from paddock.runner.engines.text.answer.harmony import HarmonyText
from paddock.runner.engines.text.answer.marked_text import MarkedText
from paddock.runner.engines.text.answer.stops import StopMatcher
from paddock.runner.engines.text.answer.style import AnswerStyle


class Reading(Protocol):
    """Tells the parts of an answer apart as its text is streamed. The frames have no logprobs yet."""

    @property
    def is_answering(self) -> bool:
        """Whether the next text belongs to the answer, not to what is thought before it."""

    @property
    def is_thinking(self) -> bool:
        """Whether the next text is thought; marks and headers are neither."""

    def feed(self, text: str) -> list[Frame]:
        """What a piece of text adds."""

    def finish(self) -> list[Frame]:
        """What is left when no more text comes."""


class PlainText:
    """An answer that is nothing but text."""

    is_answering = True
    is_thinking = False

    def feed(self, text: str) -> list[Frame]:
        """As `Reading.feed`."""
        return [Text(content=text)] if text else []

    def finish(self) -> list[Frame]:
        """As `Reading.finish`."""
        return []


class Answer:
    """What one sequence says."""

    def __init__(self, decode: Decode, prompt: Prompt) -> None:
        style = prompt.style
        self._stops = StopMatcher(prompt.sampling.stop)
        self._text = stream_of(decode, style.spelling, prompt.tokens if prompt.continues_text else ())
        self._reading = _reading(style)
        self._hides_thinking = style.hides_thinking
        self._ends_with_call = style.ends_with_call
        self._has_called = False
        self._likelihoods: list[TokenLogprobs] = []

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string came, or the call that the answer ends with: no token after it counts."""
        return self._stops.matched or self._has_called

    @property
    def stop_string(self) -> str:
        """The stop string that came; empty if none did."""
        return self._stops.match

    @property
    def is_thinking(self) -> bool:
        """Whether the next token is thought, not said."""
        return self._reading.is_thinking

    @property
    def is_constrained(self) -> bool:
        """Whether the next token belongs to what a grammar is for: False while the model still thinks."""
        return self._reading.is_answering

    def add(self, token: int, likelihood: TokenLogprobs | None = None) -> list[Frame]:
        """The frames that one more token makes."""
        if likelihood is not None:
            self._likelihoods.append(likelihood)
        text = self._text.add(token)
        return self._told(self._reading.feed(self._stops.feed(text))) if text else []

    def finish(self) -> list[Frame]:
        """The frames that are left when no more tokens come."""
        if self._has_called:
            return []
        held = self._stops.feed(self._text.finish())
        frames = self._told([*self._reading.feed(held + self._stops.flush()), *self._reading.finish()])
        if self._likelihoods and not self.is_stopped:
            frames.append(Text(content="", logprobs=self._take_likelihoods()))
        return frames

    def _told(self, frames: list[Frame]) -> list[Frame]:
        """The frames that the client gets, the first of them with the likelihoods of the tokens they are made of."""
        if self._ends_with_call:
            frames = self._up_to_a_call(frames)
        if self._hides_thinking and any(isinstance(frame, Thinking) for frame in frames):
            self._likelihoods.clear()
            frames = [frame for frame in frames if not isinstance(frame, Thinking)]
        if self._likelihoods and frames:
            logprobs = self._take_likelihoods()
            if isinstance(frames[0], Text | Thinking):
                return [msgspec.structs.replace(frames[0], logprobs=logprobs), *frames[1:]]
        return frames

    def _up_to_a_call(self, frames: list[Frame]) -> list[Frame]:
        place = next((place for place, frame in enumerate(frames) if isinstance(frame, ToolCall)), None)
        self._has_called = place is not None
        return frames if place is None else frames[: place + 1]

    def _take_likelihoods(self) -> tuple[TokenLogprobs, ...]:
        taken = tuple(self._likelihoods)
        self._likelihoods.clear()
        return taken


def _reading(style: AnswerStyle) -> Reading:
    if style.is_plain:
        return PlainText()
    return HarmonyText(style) if style.is_harmony else MarkedText(style)
