"""Stop strings, matched on text as it is streamed. It knows no tokens."""

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
        self.matched = False

    def feed(self, text: str) -> str:
        """The text that is now safe to show; nothing more after a match."""
        if self.matched:
            return ""
        text = self._held + text
        if (cut := self._first_match(text)) is not None:
            self.matched, self._held = True, ""
            return text[:cut]
        keep = len(text) - self._possible_start(text)
        self._held = text[keep:]
        return text[:keep]

    def flush(self) -> str:
        """What was held back, now that no more text comes."""
        held, self._held = self._held, ""
        return held

    def _first_match(self, text: str) -> int | None:
        """Where the first match starts."""
        found = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of `text` that some stop string begins with."""
        longest = min(len(text), max(map(len, self._stops), default=0) - 1)
        ends = (length for length in range(longest, 0, -1) if self._is_start(text[-length:]))
        return next(ends, 0)

    def _is_start(self, end: str) -> bool:
        return any(stop.startswith(end) for stop in self._stops)
