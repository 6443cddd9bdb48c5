"""A model's tokenizer.json: whether anything in it would make a text explode. Read before its library sees it.

Only runners ask this: the file may be large, and the server must not stop for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from paddock.errors import InvalidModelFiles

TOKENIZER_FILE = "tokenizer.json"
MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
MAX_VOCABULARY = 2_000_000
MAX_ADDED_TOKENS = 100_000
MAX_PARTS = 256
"""Steps of normalising, splitting and decoding; real tokenizers have about ten."""
MAX_GROWTH = 16
"""How many times longer replacements may make a text; real ones replace one character by one."""
MAX_TEMPLATE_TOKENS = 64
MAX_PATTERN_CHARACTERS = 16 * 1024
_MAX_PADDING = 65_536
_PIPELINE = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


class _Bad(Exception):
    """What is wrong, as the end of the sentence that starts with the file's name."""


def check_tokenizer(path: Path) -> None:
    """InvalidModelFiles for a tokenizer.json that no real model has."""
    try:
        _check(_read(path))
    except _Bad as problem:
        raise InvalidModelFiles(f"The file {TOKENIZER_FILE} {problem}.") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_TOKENIZER_BYTES else None
    except OSError:
        raise _Bad("cannot be read") from None
    if data is None:
        raise _Bad(f"is larger than {MAX_TOKENIZER_BYTES} bytes")
    try:
        found = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        raise _Bad("is not valid JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("model"), dict):
        raise _Bad("is not the description of a tokenizer")
    return found


def _check(tokenizer: dict[str, Any]) -> None:
    _check_vocabulary(tokenizer["model"].get("vocab"))
    _check_added_tokens(tokenizer.get("added_tokens") or [])
    _check_padding(tokenizer.get("padding"))
    for step in _PIPELINE:
        parts = list(_parts(tokenizer.get(step)))
        growth = math.prod(max(1.0, _growth(part)) for part in parts)
        if growth > MAX_GROWTH:
            raise _Bad(f"makes texts more than {MAX_GROWTH} times longer (its {step})")
        for part in parts:
            _check_part(part)


def _check_vocabulary(vocabulary: object) -> None:
    if isinstance(vocabulary, list):  # Unigram: a token's id is its place
        if len(vocabulary) > MAX_VOCABULARY:
            raise _Bad(f"has more than {MAX_VOCABULARY} tokens")
        return
    if not isinstance(vocabulary, dict):
        raise _Bad("has no vocabulary")
    _check_ids(list(vocabulary.values()))


def _check_added_tokens(added: object) -> None:
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise _Bad("has added tokens that are none")
    if len(added) > MAX_ADDED_TOKENS:
        raise _Bad(f"has more than {MAX_ADDED_TOKENS} added tokens")
    _check_ids([token.get("id") for token in added])


def _check_ids(ids: list[object]) -> None:
    if not all(type(number) is int and 0 <= number < MAX_VOCABULARY for number in ids):
        raise _Bad(f"has a token id outside of 0 to {MAX_VOCABULARY - 1}")
    if len(set(ids)) != len(ids):
        raise _Bad("gives two tokens the same id")


def _check_padding(padding: object) -> None:
    if not isinstance(padding, dict):
        return
    strategy = padding.get("strategy")
    fixed = strategy.get("Fixed") if isinstance(strategy, dict) else 0
    for length in (fixed, padding.get("pad_to_multiple_of") or 0):
        if type(length) is not int or not 0 <= length <= _MAX_PADDING:
            raise _Bad("pads texts to an absurd length")


def _parts(step: object) -> Iterator[Mapping[str, Any]]:
    """The parts of a step, those of sequences (in whatever depth) as well; at most MAX_PARTS."""
    waiting, seen = [step], 0
    while waiting:
        part = waiting.pop()
        if part is None:
            continue
        seen += 1
        if not isinstance(part, dict) or seen > MAX_PARTS:
            raise _Bad("has more steps than a tokenizer needs")
        yield part
        for key in ("normalizers", "pretokenizers", "processors", "decoders"):
            inner = part.get(key)
            waiting.extend(inner if isinstance(inner, list) else [])


def _growth(part: Mapping[str, Any]) -> float:
    """How many times longer this part may make a text: what is replaced has at least one character."""
    if part.get("type") != "Replace":
        return 1.0
    pattern = part.get("pattern")
    text = pattern.get("String") if isinstance(pattern, dict) else pattern
    if isinstance(text, str) and not text:
        return math.inf
    replaced = len(text) if isinstance(text, str) else 1
    return len(str(part.get("content", ""))) / replaced


def _check_part(part: Mapping[str, Any]) -> None:
    pattern = part.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    if isinstance(regex, str) and len(regex) > MAX_PATTERN_CHARACTERS:
        raise _Bad("has a pattern of absurd length")
    if part.get("type") == "TemplateProcessing":
        _check_template(part)
    for key in ("content", "prepend", "append", "suffix"):
        if len(str(part.get(key, ""))) > MAX_PATTERN_CHARACTERS:
            raise _Bad(f"has a {key} of absurd length")


def _check_template(part: Mapping[str, Any]) -> None:
    """A template puts special tokens around a text, which it may hold once."""
    specials = part.get("special_tokens")
    tokens = list(specials.values()) if isinstance(specials, dict) else []
    ids = [token.get("ids") for token in tokens if isinstance(token, dict)]
    if len(tokens) > MAX_TEMPLATE_TOKENS or any(not isinstance(each, list) or len(each) > 4 for each in ids):
        raise _Bad("adds an absurd number of special tokens to every text")
    for name in ("single", "pair"):
        pieces = part.get(name) or []
        texts = [str(piece["Sequence"].get("id")) for piece in pieces if _is_text(piece)]
        if len(pieces) > MAX_TEMPLATE_TOKENS or len(set(texts)) != len(texts):
            raise _Bad("repeats every text, or adds an absurd number of special tokens to it")


def _is_text(piece: object) -> bool:
    return isinstance(piece, dict) and isinstance(piece.get("Sequence"), dict)
