"""Reads prompts into caches, chunk by chunk, and not again what was read before. It knows no batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from paddock.protocol import Frame
from paddock.runner.engines.text.group import Group
from paddock.runner.engines.text.model.kv_caches import grow_as_usual, grow_at_once
from paddock.runner.engines.text.pace import Pace
from paddock.runner.engines.text.prefix.cache import PrefixCache
from paddock.runner.engines.text.reading_together import read_together, which_together
from paddock.runner.engines.text.sequence import Sequence

_LEAST_KEPT_TOKENS = 32
"""A prompt shorter than this is not worth keeping before its answer is there too."""


class Reader:
    """Brings sequences from their prompt to the logits of their first token."""

    def __init__(
        self,
        model: nn.Module,
        make_caches: Callable[[], list[Any]],
        prefixes: PrefixCache,
        pace: Pace,
        *,
        reads_together: bool = False,
    ) -> None:
        """`reads_together`: whether prompts of this model may be read in one pass."""
        self._model = model
        self._make_caches = make_caches
        self._prefixes = prefixes
        self._pace = pace
        self._reads_together = reads_together

    def begin(self, sequence: Sequence) -> list[Frame]:
        """Find what of the prompt was read before."""
        prompt = sequence.prompt
        prefix = self._prefixes.take(prompt.tenant, prompt.tokens)
        caches, read = (prefix.caches, prefix.length) if prefix else (self._make_caches(), 0)
        grow_at_once(caches, len(prompt.tokens))
        return sequence.begin(caches, read, self._prefixes.stops(prompt.tokens, read, caches))

    def read(self, sequence: Sequence, most_tokens: int) -> list[Frame]:
        """Read one chunk; afterwards it may be that `next_chunk` has nothing more."""
        chunk = sequence.next_chunk(most_tokens)
        if not chunk:
            return []
        began = time.monotonic()
        # Only caches are computed, and so neither the last layer's output nor logits.
        self._model(mx.array([chunk]), cache=sequence.caches)
        mx.eval([layer.state for layer in sequence.caches])
        mx.clear_cache()
        self._pace.has_read(len(chunk), sequence.length, time.monotonic() - began)
        frames = sequence.has_read(len(chunk))
        is_whole = not sequence.next_chunk(1)
        if sequence.is_at_pause or (is_whole and not sequence.has_pauses and sequence.length >= _LEAST_KEPT_TOKENS):
            self.keep(sequence, sequence.caches)
        return frames

    def finish(self, sequence: Sequence) -> tuple[Group, mx.array, list[Frame]]:
        """Read the last token: what the sequence brings into a batch, and the logits (1, vocabulary) of the first token
        of its answer, under way."""
        group = Group(sequence.caches, [sequence.length])
        logits = group.forward(self._model, mx.array(sequence.prompt.tokens[-1:]))
        mx.async_eval(logits)
        grow_as_usual(sequence.caches)
        return group, logits, sequence.has_read(1)

    def together(self, sequences: Iterable[Sequence], most_tokens: int) -> list[Sequence]:
        """Which of these can be read in one pass; fewer than two if it makes no sense, or the model cannot."""
        return which_together(sequences, most_tokens) if self._reads_together else []

    def read_together(self, sequences: list[Sequence]) -> tuple[Group, mx.array]:
        """Read whole prompts in one pass, and their last tokens in another: what `finish` does for one."""
        began = time.monotonic()
        prompts = [sequence.prompt.tokens for sequence in sequences]
        group, finish = read_together(self._model, self._make_caches, prompts)
        mx.clear_cache()
        longest = max(group.lengths)
        self._pace.has_read(longest * group.size, longest, time.monotonic() - began)
        for place, (sequence, length) in enumerate(zip(sequences, group.lengths, strict=True)):
            sequence.has_read(length)
            if length >= _LEAST_KEPT_TOKENS:
                self.keep(sequence, group.caches_of(place))
        logits = finish()
        mx.async_eval(logits)
        for sequence in sequences:
            sequence.has_read(1)
        return group, logits

    def keep(self, sequence: Sequence, caches: list[Any]) -> None:
        """Keep what was read and generated, for prompts that begin like this."""
        self._prefixes.keep(sequence.prompt.tenant, sequence.held, caches)
