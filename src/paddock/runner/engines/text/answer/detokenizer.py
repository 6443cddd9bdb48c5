"""Token ids to text, as they come: never half a character. It knows tokenizers only by their `decode`, or by how they
spell each token.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

from paddock.runner.engines.text.answer.style import Spelling

Decode = Callable[[Sequence[int]], str]

_REPLACEMENT = "\ufffd"
_CONTEXT_TOKENS = 6
"""Enough that a character in bytes (four at most) and the token before it lie in the window."""


class TextStream(Protocol):
    """Streams the text of one sequence."""

    def add(self, token: int) -> str:
        """The text that this token completes, often none."""

    def finish(self) -> str:
        """What is left: bytes that never became a character come as replacement characters."""


def stream_of(decode: Decode, spelling: Spelling | None, before: Sequence[int] = ()) -> TextStream:
    """The fastest stream there is. `before` are the tokens that the text continues; without them it stands alone."""
    return SpellingStream(spelling, is_start=not before) if spelling else Detokenizer(decode, before)


class SpellingStream:
    """Puts the bytes of the tokens together, which is many times faster than decoding them."""

    def __init__(self, spelling: Spelling, *, is_start: bool) -> None:
        self._bytes_of = spelling.bytes_of
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._drops_space = is_start and spelling.drops_first_space

    def add(self, token: int) -> str:
        """As `TextStream.add`."""
        text = self._decode(self._bytes_of(token))
        if text and self._drops_space:
            self._drops_space = False
            return text.removeprefix(" ")
        return text

    def finish(self) -> str:
        """As `TextStream.finish`."""
        return self._decode(b"", True)


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
        """As `TextStream.add`."""
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
        """As `TextStream.finish`."""
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
