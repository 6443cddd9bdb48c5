"""Word wrap for a text that arrives in pieces."""

from __future__ import annotations

from rich.cells import cell_len

TAB = " " * 4


class WordWrap:
    """Breaks lines between words so that none is wider than `width` terminal cells.

    A word is held back until it is complete, so nothing that was written has to be taken back. Wide characters
    (Chinese, Japanese, emoji) may be parted anywhere; indentation survives where it fits.
    """

    def __init__(self, width: int) -> None:
        self._width = max(2, width)
        self._column = 0
        self._gap = ""
        self._word = ""

    def feed(self, text: str) -> str:
        """What may be written now that `text` is known."""
        return "".join(self._take(character) for character in text)

    def finish(self) -> str:
        """What was held back, at the end of the text."""
        return self._place_word()

    def _take(self, character: str) -> str:
        if character == "\n":
            done = self._place_word() + "\n"
            self._column, self._gap = 0, ""
            return done
        if character in " \t":
            done = self._place_word()
            self._gap += TAB if character == "\t" else character
            return done
        if cell_len(character) > 1:
            done = self._place_word()
            self._word = character
            return done + self._place_word()
        self._word += character
        return self._place_word() if cell_len(self._word) >= self._width else ""

    def _place_word(self) -> str:
        if not self._word:
            return ""
        size, gap, word = cell_len(self._word), self._gap, self._word
        self._gap = self._word = ""
        if self._column + len(gap) + size <= self._width:
            self._column += len(gap) + size
            return gap + word
        line_break = "\n" if self._column else ""
        self._column = size
        return line_break + word
