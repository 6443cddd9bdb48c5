"""Reads prompts into caches, chunk by chunk, and not again what was read before. It knows no batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from paddock.protocol import Frame
from paddock.runner.engines.text.model.kv_caches import grow_as_usual, grow_at_once
from paddock.runner.engines.text.pace import Pace
from paddock.runner.engines.text.prefix.cache import PrefixCache
from paddock.runner.engines.text.sequence import Sequence

_LEAST_KEPT_TOKENS = 32
"""A prompt shorter than this is not worth keeping before its answer is there too."""


class Reader:
    """Brings sequences from their prompt to the logits of their first token."""

    def __init__(
        self, model: nn.Module, make_caches: Callable[[], list[Any]], prefixes: PrefixCache, pace: Pace
    ) -> None:
        self._model = model
        self._make_caches = make_caches
        self._prefixes = prefixes
        self._pace = pace

    def begin(self, sequence: Sequence) -> None:
        """Find what of the prompt was read before."""
        prompt = sequence.prompt
        prefix = self._prefixes.take(prompt.tenant, prompt.tokens)
        caches, read = (prefix.caches, prefix.length) if prefix else (self._make_caches(), 0)
        grow_at_once(caches, len(prompt.tokens))
        sequence.begin(caches, read, self._prefixes.stops(prompt.tokens, read, caches))

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

    def finish(self, sequence: Sequence) -> tuple[mx.array, list[Frame]]:
        """Read the last token: the logits (1, vocabulary) of the first one of the answer, under way."""
        logits = self._model(mx.array([sequence.prompt.tokens[-1:]]), cache=sequence.caches)[:, -1, :]
        mx.async_eval(logits)
        grow_as_usual(sequence.caches)
        return logits, sequence.has_read(1)

    def keep(self, sequence: Sequence, caches: list[Any]) -> None:
        """Keep what was read and generated, for prompts that begin like this."""
        self._prefixes.keep(sequence.prompt.tenant, sequence.held, caches)
