"""The tokenizer of an encoder: texts and pairs to ids, cut to a length with their special tokens kept. No MLX."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from paddock.errors import DamagedModel, InvalidModelFiles
from paddock.runner.watch import Watch
from paddock.vetting.tokenizer import TOKENIZER_FILE, check_tokenizer

logger = logging.getLogger(__name__)

_SETTINGS_FILE = "tokenizer_config.json"
_SECONDS = 1.0
_SECONDS_PER_BYTE = 0.001 / 1024
_TOKENS_PER_BYTE = 4
_FREE_TOKENS = 1024
_RECREATE = "pull or create the model again"


@dataclass(frozen=True)
class Encoded:
    """The ids of a text or a pair, and to which of the two each token belongs."""

    tokens: tuple[int, ...]
    kinds: tuple[int, ...]
    full_length: int
    """How many there would be without a cut."""


class TextTokenizer:
    """Reads texts for one model. Used by one thread at a time."""

    def __init__(
        self, tokenizer: Any, watch: Watch, *, lowers_case: bool = False, end_token: int | None = None
    ) -> None:
        """`end_token` is appended to texts where the tokenizer does not do it by itself."""
        self._tokenizer = tokenizer
        self._watch = watch
        self._lowers_case = lowers_case
        self._end_token = end_token

    def encode(self, text: str, most: int, *, special: bool = True) -> Encoded:
        """At most `most` tokens of a text. DamagedModel where the tokenizer makes more than any honest one."""
        raw = self._raw(text)
        added = self._added(is_pair=False) if special else 0
        full = len(raw.ids) + added
        raw.truncate(max(1, most - added)) if full > most else None
        return self._finished(raw, None, full, special=special)

    def encode_pair(self, first: str, second: str, most: int) -> Encoded:
        """At most `most` tokens of two texts: what is longer than its half gives way first."""
        one, other = self._raw(first), self._raw(second)
        added = self._added(is_pair=True)
        room, full = max(2, most - added), len(one.ids) + len(other.ids) + added
        if full > most:
            half = room // 2
            kept = len(one.ids) if len(one.ids) <= half else max(half, room - len(other.ids))
            one.truncate(kept)
            other.truncate(max(1, room - kept))
        return self._finished(one, other, full, special=True)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ids that are the model's own."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False))

    def _raw(self, text: str) -> Any:
        text = text.lower() if self._lowers_case else text
        size_bytes = len(text.encode(errors="replace"))
        problem = "The model's tokenizer takes far too long for this text: create the model from other files."
        with self._watch.allow(_SECONDS + size_bytes * _SECONDS_PER_BYTE, problem):
            raw = self._tokenizer.encode(text.encode(errors="replace").decode(), add_special_tokens=False)
        if len(raw.ids) > _TOKENS_PER_BYTE * size_bytes + _FREE_TOKENS:
            raise DamagedModel(
                "The model's tokenizer makes far too many tokens of this text: create the model from other files."
            )
        return raw

    def _added(self, *, is_pair: bool) -> int:
        return int(self._tokenizer.num_special_tokens_to_add(is_pair)) + (self._end_token is not None)

    def _finished(self, one: Any, other: Any, full_length: int, *, special: bool) -> Encoded:
        whole = self._tokenizer.post_process(one, other, special) if special else one
        tokens, kinds = list(whole.ids), list(whole.type_ids)
        if special and self._end_token is not None:
            tokens.append(self._end_token)
            kinds.append(0)
        return Encoded(tuple(tokens), tuple(kinds), full_length)


def load_tokenizer(folder: Path, watch: Watch, *, lowers_case: bool) -> TextTokenizer:
    """The tokenizer of a folder: tokenizer.json, or what transformers makes of older files. DamagedModel."""
    tokenizer = _from_file(folder) if (folder / TOKENIZER_FILE).exists() else _from_older_files(folder)
    # Files may ask for cutting and padding to lengths that have nothing to do with what is asked here.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TextTokenizer(tokenizer, watch, lowers_case=lowers_case, end_token=_missing_end(folder, tokenizer))


def _from_file(folder: Path) -> Any:
    try:
        check_tokenizer(folder / TOKENIZER_FILE)
    except InvalidModelFiles as error:
        raise DamagedModel(f"{error.message.rstrip('.')}; {_RECREATE}.") from None
    return Tokenizer.from_file(str(folder / TOKENIZER_FILE))


def _from_older_files(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True).backend_tokenizer
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        logger.debug("the tokenizer could not be loaded", exc_info=error)
        raise DamagedModel(f"The tokenizer files are missing or damaged: {_RECREATE}.") from None


def _missing_end(folder: Path, tokenizer: Any) -> int | None:
    """The end token, where the settings want one after each text and the tokenizer's own template has none."""
    try:
        settings = json.loads((folder / _SETTINGS_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    end = settings.get("eos_token") if isinstance(settings, dict) and settings.get("add_eos_token") is True else None
    end = end.get("content") if isinstance(end, dict) else end
    known = tokenizer.token_to_id(end) if isinstance(end, str) else None
    if known is None or tokenizer.encode("a", add_special_tokens=True).ids[-1:] == [known]:
        return None
    return int(known)
