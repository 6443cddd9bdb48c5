"""Finds the bytes of each token of a tokenizer, where its decoder does nothing but put them together."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import Tokenizer, pre_tokenizers

from paddock.runner.engines.text.answer.style import Spelling

_VISIBLE_SPACE = "\u2581"
_PIECES = [{"type": "Replace", "pattern": {"String": _VISIBLE_SPACE}, "content": " "}, {"type": "ByteFallback"}]
_WITHOUT_STRIP = [*_PIECES, {"type": "Fuse"}]
_WITH_STRIP = [*_WITHOUT_STRIP, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
_PROBE = 'Hello  world,\n\tthe "price" is 3.50€ (naïve café) — 日本語 😀!'
_PROBED_IDS = 64
"""So many ids from all over the vocabulary are decoded in both ways before a spelling is trusted."""


def spelling_of(tokenizer: TokenizerWrapper) -> Spelling | None:
    """The spelling of a tokenizer; None if its decoder is of another kind, or does not do what its kind does.

    A byte-level decoder maps each letter of each token to a byte (the alphabet of GPT-2); one of SentencePiece's kind
    writes spaces for a visible letter and bytes for tokens such as <0x0A>.
    """
    inner = getattr(tokenizer, "_tokenizer", None)
    backend = getattr(inner, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer) or backend.decoder is None:
        return None
    found = _spelling(backend, json.loads(backend.decoder.__getstate__()))
    return found if found and _is_true(found, tokenizer, backend) else None


def _spelling(backend: Tokenizer, decoder: dict[str, Any]) -> Spelling | None:
    if decoder.get("type") == "ByteLevel":
        return Spelling(_cached(backend, _byte_level(_alphabet())))
    steps = decoder.get("decoders")
    if steps in (_WITH_STRIP, _WITHOUT_STRIP):
        return Spelling(_cached(backend, _pieces), drops_first_space=steps == _WITH_STRIP)
    return None


def _cached(backend: Tokenizer, spell: Callable[[str], bytes]) -> Callable[[int], bytes]:
    known: dict[int, bytes] = {}

    def bytes_of(token: int) -> bytes:
        found = known.get(token)
        if found is None:
            found = known[token] = spell(backend.id_to_token(token) or "")
        return found

    return bytes_of


def _alphabet() -> dict[str, int]:
    """The letters that stand for bytes: printable Latin-1 for itself, the rest from U+0100 on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
    assert letters.keys() == set(pre_tokenizers.ByteLevel.alphabet())
    return letters


def _byte_level(alphabet: dict[str, int]) -> Callable[[str], bytes]:
    def spell(token: str) -> bytes:
        found = [alphabet.get(letter) for letter in token]
        known = [byte for byte in found if byte is not None]
        return bytes(known) if len(known) == len(found) else token.encode()

    return spell


def _pieces(token: str) -> bytes:
    token = token.replace(_VISIBLE_SPACE, " ")
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes([int(token[3:5], 16)])
        except ValueError:
            pass
    return token.encode()


def _is_true(spelling: Spelling, tokenizer: TokenizerWrapper, backend: Tokenizer) -> bool:
    """Whether it says what decoding says, for a text and for single tokens from all over the vocabulary."""
    size = backend.get_vocab_size(with_added_tokens=True)
    ids = range(0, size, max(1, size // _PROBED_IDS))
    probes = [backend.encode(_PROBE, add_special_tokens=False).ids, *([token] for token in ids)]
    return all(_spelled(spelling, probe) == _decoded(tokenizer, probe) for probe in probes)


def _spelled(spelling: Spelling, tokens: list[int]) -> str:
    text = b"".join(map(spelling.bytes_of, tokens)).decode(errors="replace")
    return text.removeprefix(" ") if spelling.drops_first_space else text


def _decoded(tokenizer: TokenizerWrapper, tokens: list[int]) -> str:
    return str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False))
