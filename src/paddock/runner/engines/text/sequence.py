"""One running generation: reads its prompt chunk by chunk, then decodes one token per step. It knows no queue.

Decoding runs one step ahead of the host: the graph of the next token is handed to MLX before this one is read.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from paddock.protocol import Done, Frame, PromptProgress
from paddock.runner.engines.base import Prompt
from paddock.runner.engines.text.answer import Answer
from paddock.runner.engines.text.detokenizer import Decode
from paddock.runner.engines.text.sampling import Sampler

CLEAR_EVERY_TOKENS = 256
"""How often MLX's allocator gives its spare buffers back, as mlx-lm's own loop does."""


class SequenceState(enum.Enum):
    """Where a generation is."""

    WAITING = enum.auto()
    PREFILLING = enum.auto()
    DECODING = enum.auto()
    FINISHED = enum.auto()


_NEXT_STATES = {
    SequenceState.WAITING: frozenset({SequenceState.PREFILLING}),
    SequenceState.PREFILLING: frozenset({SequenceState.DECODING}),
    SequenceState.DECODING: frozenset({SequenceState.FINISHED}),
    SequenceState.FINISHED: frozenset[SequenceState](),
}


@dataclass(frozen=True)
class SequenceLimits:
    """What the model and its options set for every sequence."""

    context_length: int
    num_batch: int
    end_tokens: frozenset[int]


class Sequence:
    """The generation of one request. Made anywhere; `step` only on the thread that owns MLX."""

    def __init__(self, model: nn.Module, decode: Decode, prompt: Prompt, limits: SequenceLimits) -> None:
        self._model = model
        self._prompt = prompt
        self._limits = limits
        self._state = SequenceState.WAITING
        self._cache: list[Any] = []
        self._read = 0
        self._next: mx.array | None = None
        self._sampler = Sampler(prompt.sampling, prompt.tokens, limits.context_length)
        self._answer = Answer(decode, prompt)
        self._generated: list[int] = []
        room = limits.context_length - len(prompt.tokens)
        self._budget = min(prompt.sampling.num_predict, room) if prompt.sampling.num_predict > 0 else room
        self._started_ns = 0
        self._decoding_ns = 0

    @property
    def is_finished(self) -> bool:
        """Whether Done was among the frames."""
        return self._state is SequenceState.FINISHED

    @property
    def generated(self) -> int:
        """Tokens generated so far."""
        return len(self._generated)

    @property
    def has_read_prompt(self) -> bool:
        """Whether it decodes, or has."""
        return self._state in (SequenceState.DECODING, SequenceState.FINISHED)

    @property
    def length(self) -> int:
        """Tokens that it has: those of the prompt that were read, and those that were generated."""
        return self._read + len(self._generated)

    def step(self) -> list[Frame]:
        """Read one chunk of the prompt or decode one token; the frames that this made."""
        if self._state is SequenceState.WAITING:
            self._started_ns = time.monotonic_ns()
            self._cache = make_prompt_cache(self._model)
            self._enter(SequenceState.PREFILLING)
        if self._state is SequenceState.PREFILLING:
            return list(self._prefill())
        return list(self._decode())

    def _enter(self, state: SequenceState) -> None:
        assert state in _NEXT_STATES[self._state], f"{self._state} -> {state}"
        self._state = state

    def _prefill(self) -> Iterator[Frame]:
        total = len(self._prompt.tokens)
        # The last token is left for the first decoding step, so logits are only ever made for one position.
        chunk = self._prompt.tokens[self._read : min(self._read + self._limits.num_batch, total - 1)]
        if chunk:
            self._model(mx.array([chunk]), cache=self._cache)
            mx.eval([layer.state for layer in self._cache])
            mx.clear_cache()
            self._read += len(chunk)
        if self._read == total - 1:
            self._next = self._dispatch(mx.array(self._prompt.tokens[-1:]))
            self._read = total
            mx.eval(self._next)
            self._decoding_ns = time.monotonic_ns()
            self._enter(SequenceState.DECODING)
        if total - 1 > self._limits.num_batch:
            yield PromptProgress(done=self._read, total=total)

    def _dispatch(self, token: mx.array) -> mx.array:
        """Hand MLX the graph of the token that follows `token`, shape (1,); returns that token, not yet computed."""
        logits = self._model(token[None], cache=self._cache)[0, -1, :]
        following = self._sampler.choose(logits)
        mx.async_eval(following)
        return following

    def _decode(self) -> Iterator[Frame]:
        current = self._next
        assert current is not None
        self._next = self._dispatch(current) if len(self._generated) + 1 < self._budget else None
        token: Any = current.item()
        if token in self._limits.end_tokens:
            yield from self._finish("stop")
            return
        self._generated.append(token)
        if len(self._generated) % CLEAR_EVERY_TOKENS == 0:
            mx.clear_cache()
        yield from self._answer.add(token)
        if self._answer.is_stopped:
            yield from self._finish("stop")
        elif self._next is None:
            yield from self._finish("length")

    def _finish(self, reason: Literal["stop", "length"]) -> Iterator[Frame]:
        yield from self._answer.finish()
        if self._answer.is_stopped:
            reason = "stop"
        ended_ns = time.monotonic_ns()
        self._cache, self._next = [], None
        self._enter(SequenceState.FINISHED)
        yield Done(
            reason=reason,
            prompt_eval_count=len(self._prompt.tokens),
            prompt_eval_duration_ns=self._decoding_ns - self._started_ns,
            eval_count=len(self._generated),
            eval_duration_ns=ended_ns - self._decoding_ns,
            context=(*self._prompt.tokens, *self._generated) if self._prompt.return_context else None,
        )
