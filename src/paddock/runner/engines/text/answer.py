"""From the tokens of one answer to its frames: text in whole characters, up to a stop string. It knows no model."""

from __future__ import annotations

from paddock.protocol import Frame, Text, TokenLogprobs
from paddock.runner.engines.base import Prompt
from paddock.runner.engines.text.detokenizer import Decode, Detokenizer
from paddock.runner.engines.text.stops import StopMatcher


class Answer:
    """What one sequence says."""

    def __init__(self, decode: Decode, prompt: Prompt) -> None:
        self._stops = StopMatcher(prompt.sampling.stop)
        self._text = Detokenizer(decode, prompt.tokens if prompt.continues_text else ())

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string came: no token after it counts."""
        return self._stops.matched

    def add(self, token: int, likelihood: TokenLogprobs | None = None) -> list[Frame]:
        """The frames that one more token makes."""
        return _texts(self._stops.feed(self._text.add(token)))

    def finish(self) -> list[Frame]:
        """The frames that are left when no more tokens come."""
        held = self._stops.feed(self._text.finish())
        return _texts(held + self._stops.flush())


def _texts(text: str) -> list[Frame]:
    return [Text(content=text)] if text else []
