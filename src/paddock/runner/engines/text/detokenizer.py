"""Token ids to text, as they come: never half a character. It knows tokenizers only by their `decode`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

_REPLACEMENT = "\ufffd"
_CONTEXT_TOKENS = 6
"""Enough that a character in bytes (four at most) and the token before it lie in the window."""


class Detokenizer:
    """Streams the text of one sequence, so that all pieces together equal the text of all ids decoded at once.

    Decoders treat the first token in their own ways (SentencePiece ones drop its space), so each piece is the
    difference between two decodings that start at the same, already shown token. Text that ends in the
    replacement character may be an unfinished one and waits for its other bytes.
    """

    def __init__(self, decode: Decode, before: Sequence[int] = ()) -> None:
        """`before` are the tokens that the text continues; without them it starts as a text of its own."""
        self._decode = decode
        self._window: list[int] = _whole_text(decode, before)
        self._shown = decode(self._window) if self._window else ""
        self._shown_tokens = len(self._window)

    def add(self, token: int) -> str:
        """The text that this token completes, often none."""
        self._window.append(token)
        text = self._decode(self._window)
        if text.endswith(_REPLACEMENT) or len(text) <= len(self._shown):
            return ""
        piece = text[len(self._shown) :]
        # What was shown just now is the beginning that the next pieces are compared with.
        self._window = self._window[self._shown_tokens :]
        self._shown_tokens = len(self._window)
        self._shown = self._decode(self._window)
        return piece

    def finish(self) -> str:
        """What is left: bytes that never became a character come as replacement characters."""
        if len(self._window) == self._shown_tokens:
            return ""
        piece = self._decode(self._window)[len(self._shown) :]
        self._shown_tokens = len(self._window)
        self._shown += piece
        return piece


def _whole_text(decode: Decode, before: Sequence[int]) -> list[int]:
    """The last tokens of `before`, unless their text does not end in a whole character."""
    window = list(before[-_CONTEXT_TOKENS:])
    return [] if decode(window).endswith(_REPLACEMENT) else window
