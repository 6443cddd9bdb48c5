"""A tokenizer as constraints need it: llguidance's view, its tokens of one byte, and those that lengthen a number."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from paddock.runner.engines.text.grammar.json_place import NUMBER_BYTES, JsonPlace

Row = NDArray[np.uint32]
"""One bit per token, the lowest of the first word for token 0."""

_WORD_BITS = 32
_EXPONENT = re.compile(rb"[0-9][eE]")
_PLAINEST_FIRST = sorted(range(256), key=lambda byte: (byte > 126, not chr(byte).isalnum(), byte))


class Lexicon:
    """The tokens of one tokenizer. Immutable; any thread may use it."""

    def __init__(self, backend: Any, vocabulary: int, end_tokens: frozenset[int]) -> None:
        """`backend` is a tokenizer of the tokenizers library, `vocabulary` how many logits the model makes.

        It takes a second or two for the largest vocabularies, without letting other threads of Python run. ValueError
        if there is no end token among the vocabulary, or llguidance does not know tokenizers of this kind.
        """
        known = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        ends = sorted(token for token in end_tokens if 0 <= token < min(vocabulary, known))
        if not ends:
            raise ValueError("no end token")
        self.vocabulary = vocabulary
        self.words = words_of(vocabulary)
        # Ids beyond the tokenizer's are no text; ids beyond the model's have no logits, but llguidance wants them all.
        self.native = LLTokenizer(_described(backend), n_vocab=max(vocabulary, known), eos_token=ends)
        self.end_token = ends[0]
        self._fill_words = words_of(max(vocabulary, known))
        self._known = min(vocabulary, known)
        self._within = row_of(range(self._known), self._fill_words)
        self.end_row = row_of(ends, self.words)
        added = backend.get_added_tokens_decoder().items()
        self.marks: Mapping[str, int] = {each.content: token for token, each in added if token < vocabulary}
        """Texts that are always one token."""
        self.special_tokens: Mapping[str, int] = {
            text: token for text, token in self.marks.items() if self.is_special(token)
        }
        spelt = [(token, self.bytes_of(token)) for token in range(self._known) if not self.is_special(token)]
        self.by_byte: Mapping[int, int] = {text[0]: token for token, text in reversed(spelt) if len(text) == 1}
        """The tokens of one byte."""
        self.plainest_first = [self.by_byte[byte] for byte in _PLAINEST_FIRST if byte in self.by_byte]
        """The same, letters and digits before others."""
        exponents = row_of((token for token, text in spelt if _EXPONENT.search(text)), self.words)
        starting = row_of((token for token, text in spelt if text[:1] in (b"e", b"E")), self.words)
        going_on = row_of((token for token, text in spelt if text and text[0] in NUMBER_BYTES), self.words)
        self._no_exponent = ~exponents
        self._no_exponent_in_number = ~(exponents | starting)
        self._no_more_digits = ~(exponents | going_on)

    def row_without_end(self, *others: int) -> Row:
        """All tokens but those that end an answer, and these."""
        row: Row = self._within[: self.words] & ~self.end_row & ~row_of(others, self.words)
        return row

    def bytes_of(self, token: int) -> bytes:
        return bytes(self.native.decode_bytes([token]))

    def tokens_of_bytes(self, text: bytes) -> list[int]:
        """The tokens of these single bytes, as far as there are any."""
        return [self.by_byte[byte] for byte in text if byte in self.by_byte]

    def is_special(self, token: int) -> bool:
        return bool(self.native.is_special_token(token))

    def permits(self, matcher: LLMatcher, token: int) -> bool:
        """Whether the token may follow."""
        return token < self._known and matcher.validate_tokens([token]) == 1

    def fill(self, matcher: LLMatcher) -> Row:
        """What may follow, in a new row of `words` words."""
        row = np.zeros(self._fill_words, np.uint32)
        matcher.unsafe_compute_mask_ptr(row.ctypes.data, row.nbytes)
        row &= self._within
        return row[: self.words]

    def without_long_numbers(self, row: Row, place: JsonPlace, most_characters: int) -> Row:
        """The row without what makes a number too long or gives it an exponent, as far as that leaves anything.

        An exponent of a few digits is a number that most readers turn into infinity.
        """
        kept = self._of_short_numbers(place, most_characters)
        if kept is None:
            return row
        narrowed: Row = row & kept
        return narrowed if narrowed.any() else row

    def is_of_long_number(self, token: int, place: JsonPlace, most_characters: int) -> bool:
        """Whether the token does either."""
        kept = self._of_short_numbers(place, most_characters)
        return kept is not None and not has(kept, token)

    def _of_short_numbers(self, place: JsonPlace, most_characters: int) -> Row | None:
        """The tokens that do neither; None where no number can be."""
        if place.in_string:
            return None
        if not place.number_length:
            return self._no_exponent
        return self._no_exponent_in_number if place.number_length < most_characters else self._no_more_digits


def _described(backend: Any) -> str:
    """The tokenizer as JSON. llguidance takes a SentencePiece decoder step by step, but not under its short name."""
    text = str(backend.to_str())
    if backend.decoder is None or json.loads(backend.decoder.__getstate__()).get("type") != "Metaspace":
        return text
    replacement = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    steps = [replacement, {"type": "ByteFallback"}, {"type": "Fuse"}]
    return json.dumps({**json.loads(text), "decoder": {"type": "Sequence", "decoders": steps}})


def words_of(vocabulary: int) -> int:
    return -(-vocabulary // _WORD_BITS)


def row_of(tokens: Any, words: int) -> Row:
    """The row in which exactly these tokens are set."""
    ids = np.fromiter(tokens, np.int64)
    bits = np.zeros(words * _WORD_BITS, np.uint8)
    bits[ids] = 1
    return np.packbits(bits, bitorder="little").view("<u4").astype(np.uint32)


def has(row: Row, token: int) -> bool:
    """Whether the token is set in a row."""
    return bool(int(row[token // _WORD_BITS]) >> token % _WORD_BITS & 1)


def only(row: Row) -> int | None:
    """The token that is set in a row, if it is the only one."""
    bits = int.from_bytes(row.astype("<u4").tobytes(), "little")
    return bits.bit_length() - 1 if bits.bit_count() == 1 else None


def tokens_of(row: Row) -> list[int]:
    """The tokens that are set in a row."""
    bits = np.unpackbits(row.astype("<u4").view(np.uint8), bitorder="little")
    return [int(token) for token in np.flatnonzero(bits)]


def within(row: Row, tokens: Sequence[int]) -> list[int]:
    """Those of the tokens that are set in a row, in their order."""
    ids = np.asarray(tokens, np.int64)
    is_set = row[ids // _WORD_BITS] >> (ids % _WORD_BITS).astype(np.uint32) & np.uint32(1)
    return list(ids[is_set != 0].tolist())
