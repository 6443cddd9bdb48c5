"""Prompts for models that fill a gap between two texts, with the tokens they were trained on. It touches no MLX."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlx_lm.tokenizer_utils import TokenizerWrapper

from paddock.errors import Unsupported
from paddock.vetting.abilities import infill_marks

_ENDS = ("<|endoftext|>", "<|fim_pad|>", "<|file_sep|>", "<|file_separator|>", "<file_sep>", "▁<EOT>")
"""Tokens that end what goes into a gap, beside those that end every text."""

Encode = Callable[[str], Sequence[int]]


class Infill:
    """How one model fills gaps, if it does."""

    def __init__(self, tokenizer: TokenizerWrapper) -> None:
        tokens = tokenizer.added_tokens_encoder
        self._marks = infill_marks(tokens)
        self.stops = tuple(end for end in _ENDS if end in tokens)

    def parts(
        self, prompt: str, suffix: str, head: Encode, encode: Encode
    ) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """The tokens of the prompt: how it begins, the text ahead of the gap, and all from there on.

        `head` encodes the beginning of a prompt, with whatever the tokenizer puts there; `encode` all that follows.
        Unsupported for a model that fills no gaps.
        """
        if self._marks is None:
            raise Unsupported("This model does not support insert.")
        before, after, middle = self._marks
        return head(before), encode(prompt), [*encode(after), *encode(suffix), *encode(middle)]
