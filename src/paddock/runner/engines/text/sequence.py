"""One running generation: what it has read, said and may still say. It computes nothing and knows no other sequence."""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from paddock.protocol import Done, Frame, Likelihood, PromptProgress, TokenLogprobs
from paddock.runner.engines.base import Prompt, RequestId
from paddock.runner.engines.text.answer.answer import Answer
from paddock.runner.engines.text.answer.detokenizer import Decode
from paddock.runner.engines.text.grammar.lexicon import only
from paddock.runner.engines.text.sampling.options import Bits, Chooser, Likelihoods


class SequenceState(enum.Enum):
    """Where a generation is."""

    WAITING = enum.auto()
    PREFILLING = enum.auto()
    DECODING = enum.auto()
    FINISHED = enum.auto()


_NONE: Bits = np.zeros(1, np.uint32)
"""A mask that allows no token."""

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
    """The generation of one request."""

    def __init__(self, request_id: RequestId, decode: Decode, prompt: Prompt, limits: SequenceLimits) -> None:
        self.request_id = request_id
        self.prompt = prompt
        is_constrained = prompt.constraint is not None or prompt.thinking_limit is not None
        self.chooser = Chooser(prompt.sampling, prompt.tokens, limits.context_length, is_constrained=is_constrained)
        self.caches: list[Any] = []
        """Layer by layer, what was read so far; a batch's from when it decodes on."""
        self.mask: Bits | None = None
        """The tokens that may come next; None for all, or for those that are not refused."""
        self.failure: BaseException | None = None
        """Why no token may come."""
        self._prescribed: int | None = None
        self._is_asked = False
        self._decode = decode
        self._limits = limits
        self._state = SequenceState.WAITING
        self._read = 0
        self._cached = 0
        self._pauses: deque[int] = deque()
        self._answer = Answer(decode, prompt)
        self._taken: list[int] = []
        self._fed = 0
        self._generated = 0
        self._thought = 0
        room = limits.context_length - len(prompt.tokens)
        self._budget = min(prompt.sampling.num_predict, room) if prompt.sampling.num_predict > 0 else room
        self._started_ns = 0
        self._decoding_ns = 0

    # ---- what there is ----

    @property
    def is_finished(self) -> bool:
        """Whether Done was among the frames."""
        return self._state is SequenceState.FINISHED

    @property
    def generated(self) -> int:
        """Tokens generated so far."""
        return self._generated

    @property
    def remaining(self) -> int:
        """Most tokens that may still be generated."""
        return self._budget - self._generated

    @property
    def length(self) -> int:
        """Tokens that it has: those of the prompt that were read, and those that were generated."""
        return self._read + self._generated

    @property
    def held(self) -> tuple[int, ...]:
        """The tokens that its caches hold."""
        return (*self.prompt.tokens[: self._read], *self._taken[: self._fed])

    @property
    def is_constrained(self) -> bool:
        """Whether not every token may come at the next places."""
        limit = self.prompt.thinking_limit
        return self.prompt.constraint is not None or (limit is not None and limit.is_near)

    def judged(self, token: int) -> int | None:
        """What becomes of a token that was drawn as if all might come: itself, or the only one that may. None if it is
        refused: then the mask says which ones may."""
        if token < 0:
            return token
        if self._prescribed is not None:
            return self._prescribed
        constraint = self.prompt.constraint
        if not self._is_asked or constraint is None or constraint.permits(token):
            return token
        self.mask = constraint.allowed()
        return only(self.mask)

    def fails(self, error: BaseException) -> None:
        """No token may come, for this reason."""
        self.failure, self.mask = error, _NONE

    # ---- reading the prompt ----

    def begin(self, caches: list[Any], read: int, pauses: Iterable[int]) -> list[Frame]:
        """Start to read, with caches that hold so many tokens already, pausing where so many have been read."""
        self._started_ns = time.monotonic_ns()
        self.caches, self._read, self._cached, self._pauses = caches, read, read, deque(pauses)
        self._enter(SequenceState.PREFILLING)
        return [PromptProgress(done=read, total=len(self.prompt.tokens))] if self.prompt.tells_prompt else []

    def next_chunk(self, most_tokens: int) -> tuple[int, ...]:
        """What of the prompt to read next: up to the next pause, and never the last token, which makes the logits."""
        total = len(self.prompt.tokens)
        pause = next((pause for pause in self._pauses if pause > self._read), total - 1)
        return self.prompt.tokens[self._read : min(self._read + most_tokens, pause, total - 1)]

    def has_read(self, tokens: int) -> list[Frame]:
        """So many more tokens of the prompt are in the caches; long prompts tell, but not while one token is left."""
        self._read += tokens
        total = len(self.prompt.tokens)
        is_told = total - 1 > self._limits.num_batch and self._read != total - 1
        return [PromptProgress(done=self._read, total=total)] if is_told else []

    @property
    def is_unread(self) -> bool:
        """Whether nothing of its prompt was read yet, now or earlier, and reading need not pause."""
        return not self._read and not self._pauses

    @property
    def is_at_pause(self) -> bool:
        """Whether reading was to pause here."""
        return self._read in self._pauses

    @property
    def has_pauses(self) -> bool:
        """Whether reading pauses anywhere."""
        return bool(self._pauses)

    def decodes(self) -> None:
        """The prompt was read, and the first token can be chosen."""
        self._enter(SequenceState.DECODING)
        self._constrain()

    # ---- making the answer ----

    def goes_on_after(self, token: int | None) -> bool:
        """Whether more tokens are needed after the next one; None if it is not known yet which one that is."""
        return token not in self._limits.end_tokens and self._generated + 1 < self._budget

    def was_fed(self) -> None:
        """The token after those that its caches held was fed to the model: they hold it as well."""
        self._fed += 1

    def add(self, token: int, likelihoods: Likelihoods | None) -> list[Frame]:
        """The next token was chosen; the frames that this makes, Done among them if it was the last."""
        self._taken.append(token)
        if not self._decoding_ns:
            self._decoding_ns = time.monotonic_ns()
        if token in self._limits.end_tokens:
            return self._finish("stop")
        goes_on = self.goes_on_after(token)
        self._generated += 1
        self.chooser.window.add(token)
        was_constrained = self._is_held
        was_thinking = self._answer.is_thinking
        frames = self._answer.add(token, self._named(token, likelihoods) if likelihoods else None)
        self._thought += was_thinking or self._answer.is_thinking
        if was_constrained and self.prompt.constraint is not None:
            self.prompt.constraint.accept(token)
        if self.prompt.thinking_limit is not None:
            self.prompt.thinking_limit.took(token, is_thinking=self._answer.is_thinking)
        if self._answer.is_stopped or (was_constrained and self._is_complete):
            return [*frames, *self._finish("stop")]
        if not goes_on:
            return [*frames, *self._finish("length")]
        self._constrain()
        return frames

    @property
    def _is_held(self) -> bool:
        """Whether the next token is one for the constraint."""
        constraint = self.prompt.constraint
        return constraint is not None and (constraint.is_for_calls or self._answer.is_constrained)

    @property
    def _is_complete(self) -> bool:
        return self.prompt.constraint is not None and self.prompt.constraint.is_finished

    def _constrain(self) -> None:
        limit, constraint = self.prompt.thinking_limit, self.prompt.constraint
        self.mask, self._is_asked = None, False
        self._prescribed = limit.prescribed if limit is not None else None
        if self._prescribed is not None or constraint is None:
            return
        if self._is_held:
            self._prescribed = constraint.prescribed(self.remaining)
            self._is_asked = self._prescribed is None
        else:
            self.mask = constraint.before

    def _named(self, token: int, likelihoods: Likelihoods) -> TokenLogprobs:
        name = self._name(token)
        top = tuple(
            Likelihood(token=each_name, logprob=logprob, bytes=tuple(each_name_bytes))
            for each, logprob in likelihoods.top
            for each_name, each_name_bytes in [self._name(each)]
        )
        return TokenLogprobs(token=name[0], logprob=likelihoods.logprob, bytes=tuple(name[1]), top=top)

    def _name(self, token: int) -> tuple[str, bytes]:
        """A token alone, as text and as bytes, which may be a part of a character."""
        spelling = self.prompt.style.spelling
        spelled = spelling.bytes_of(token) if spelling else self._decode([token]).encode()
        return spelled.decode(errors="replace"), spelled

    def _enter(self, state: SequenceState) -> None:
        assert state in _NEXT_STATES[self._state], f"{self._state} -> {state}"
        self._state = state

    def _finish(self, reason: Literal["stop", "length"]) -> list[Frame]:
        frames = self._answer.finish()
        if self._answer.is_stopped:
            reason = "stop"
        self._enter(SequenceState.FINISHED)
        answer = self._taken[: self._generated]
        done = Done(
            reason=reason,
            prompt_eval_count=len(self.prompt.tokens),
            prompt_eval_duration_ns=self._decoding_ns - self._started_ns,
            eval_count=self._generated,
            eval_duration_ns=time.monotonic_ns() - self._decoding_ns,
            context=(*self.prompt.tokens, *answer) if self.prompt.return_context else None,
            cached_tokens=self._cached,
            thinking_tokens=self._thought,
            stop_string=self._answer.stop_string,
        )
        return [*frames, done]
