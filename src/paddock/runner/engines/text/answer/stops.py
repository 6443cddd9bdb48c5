"""Stop strings, matched on text as it is streamed. It knows no tokens.

They act on all that the model writes, its thinking and its marks included, as Ollama's do.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Passes text through until a stop string is complete, holding back what may be the start of one.

    The match is the one that ends first (of those the longest), so it does not depend on how the text was cut into
    pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.match = ""
        """The stop string that came; empty as long as none has."""

    @property
    def matched(self) -> bool:
        """Whether one came."""
        return bool(self.match)

    def feed(self, text: str) -> str:
        """The text that is now safe to show; nothing more after a match."""
        if self.matched:
            return ""
        text = self._held + text
        if (found := self._first_match(text)) is not None:
            start, self.match = found
            self._held = ""
            return text[:start]
        keep = len(text) - possible_start(text, self._stops)
        self._held = text[keep:]
        return text[:keep]

    def flush(self) -> str:
        """What was held back, now that no more text comes."""
        held, self._held = self._held, ""
        return held

    def _first_match(self, text: str) -> tuple[int, str] | None:
        """Where the first match starts, and what matched."""
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := text.find(stop)) >= 0]
        return min(found)[1:] if found else None


def possible_start(text: str, marks: Sequence[str]) -> int:
    """Length of the longest end of `text` that is the beginning of a mark, and no whole one."""
    return max((_overlap(text, mark) for mark in marks), default=0)


def _overlap(text: str, mark: str) -> int:
    tail = text[-(len(mark) - 1) :] if len(mark) > 1 else ""
    start = tail.find(mark[0])
    while start >= 0 and not mark.startswith(tail[start:]):
        start = tail.find(mark[0], start + 1)
    return len(tail) - start if start >= 0 else 0
