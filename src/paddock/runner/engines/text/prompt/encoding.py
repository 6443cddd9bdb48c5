"""Text to token ids, with bounds on what a model's own tokenizer may cost. It touches no MLX."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_lm.tokenizer_utils import TokenizerWrapper

from paddock.errors import DamagedModel
from paddock.runner.watch import Watch

SECONDS = 1.0
SECONDS_PER_BYTE = 0.001 / 1024
_TOKENS_PER_BYTE = 4
_FREE_TOKENS = 1024
_TOO_SLOW = "The model's tokenizer takes far too long for this text: create the model from other files."
_TOO_MANY = "The model's tokenizer makes far too many tokens of this text: create the model from other files."


class Encoding:
    """The tokenizer of a loaded model."""

    def __init__(self, tokenizer: TokenizerWrapper, watch: Watch) -> None:
        self._tokenizer = tokenizer
        self._watch = watch

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids of a text; DamagedModel if there are more than any honest tokenizer makes."""
        size_bytes = len(text.encode(errors="replace"))
        with self._watch.allow(SECONDS + size_bytes * SECONDS_PER_BYTE, _TOO_SLOW):
            tokens = list(self._tokenizer.encode(text, add_special_tokens=special))
        if len(tokens) > _TOKENS_PER_BYTE * size_bytes + _FREE_TOKENS:
            raise DamagedModel(_TOO_MANY)
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids. Any thread may ask: decoding changes nothing in a tokenizer."""
        return str(self._tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))
