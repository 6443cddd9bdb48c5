"""Pieces of answers as the objects of /v1/chat/completions: one whole, or chunks of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from paddock.api.chunks import Piece, together
from paddock.api.openai.chat_shapes import (
    Call,
    CalledFunction,
    Choice,
    Chunk,
    ChunkChoice,
    Completion,
    ContentLogprob,
    Delta,
    FinishReason,
    Logprobs,
    Message,
    TopLogprob,
)
from paddock.api.openai.heading import Heading
from paddock.api.openai.usage import Usage
from paddock.protocol import Done, Likelihood, TokenLogprobs, ToolCall


@dataclass
class ChatWriter:
    """Writes the answers to one request. It remembers which have begun, and which of them called tools."""

    heading: Heading
    tells_logprobs: bool = False
    is_former: bool = False
    """Whether calls are told as they were before there were tools: one, in `function_call`."""
    _begun: set[int] = field(default_factory=set)
    _callers: set[int] = field(default_factory=set)

    def whole(self, answers: Sequence[Sequence[Piece]], endings: Sequence[Done], usage: Usage) -> Completion:
        """All answers, in the order of their indices, as one object."""
        choices = (
            self._choice(index, pieces, done) for index, (pieces, done) in enumerate(zip(answers, endings, strict=True))
        )
        return Completion(
            id=self.heading.id,
            created=self.heading.created,
            model=self.heading.model,
            choices=tuple(choices),
            usage=usage,
            system_fingerprint=self.heading.fingerprint,
        )

    def piece(self, index: int, piece: Piece) -> Chunk:
        """Some of an answer; the first chunk of each tells whose it is."""
        if piece.calls:
            self._callers.add(index)
        logprobs = self._logprobs([piece]) if piece.logprobs else None
        return self._chunk(ChunkChoice(index=index, delta=self._delta(index, piece), logprobs=logprobs))

    def end(self, index: int, done: Done) -> list[Chunk]:
        """The end of an answer; one that said nothing begins first."""
        begin = [] if index in self._begun else [self.piece(index, Piece())]
        reason = self._finish_reason(done, index in self._callers)
        return [*begin, self._chunk(ChunkChoice(index=index, delta=Delta(), finish_reason=reason))]

    def usage(self, usage: Usage) -> Chunk:
        """What the answers took."""
        return msgspec.structs.replace(self._chunk(), usage=usage)

    def _chunk(self, *choices: ChunkChoice) -> Chunk:
        return Chunk(choices=choices, **self.heading.fields())

    def _choice(self, index: int, pieces: Sequence[Piece], done: Done) -> Choice:
        whole = together(pieces)
        calls = tuple(Call(id=call.id, function=_function(call)) for call in whole.calls)
        message = Message(
            content=None if calls and not whole.text else whole.text,
            reasoning=whole.thinking or msgspec.UNSET,
            reasoning_content=whole.thinking or msgspec.UNSET,
            tool_calls=msgspec.UNSET if self.is_former else calls or msgspec.UNSET,
            function_call=calls[0].function if calls and self.is_former else msgspec.UNSET,
        )
        reason = self._finish_reason(done, bool(calls))
        return Choice(index=index, message=message, logprobs=self._logprobs(pieces), finish_reason=reason)

    def _delta(self, index: int, piece: Piece) -> Delta:
        is_first = index not in self._begun
        self._begun.add(index)
        calls = tuple(
            Call(index=place, id=call.id, function=_function(call))
            for place, call in enumerate(piece.calls, piece.calls_before)
        )
        says_text = piece.text or not (calls or piece.thinking)
        return Delta(
            role="assistant" if is_first else msgspec.UNSET,
            content=piece.text if says_text else msgspec.UNSET,
            reasoning=piece.thinking or msgspec.UNSET,
            reasoning_content=piece.thinking or msgspec.UNSET,
            tool_calls=msgspec.UNSET if self.is_former else calls or msgspec.UNSET,
            function_call=calls[0].function if calls and self.is_former else msgspec.UNSET,
        )

    def _logprobs(self, pieces: Sequence[Piece]) -> Logprobs | None:
        """Of the answer alone: there is no thinking in `content`."""
        if not self.tells_logprobs:
            return None
        tokens = (token for piece in pieces if not piece.thinking for token in piece.logprobs)
        return Logprobs(content=tuple(map(_content_logprob, tokens)))

    def _finish_reason(self, done: Done, has_called: bool) -> FinishReason:
        """A limit that was reached is told before anything else: calls may be missing."""
        if done.reason == "length" or not has_called:
            return done.reason
        return "function_call" if self.is_former else "tool_calls"


def _content_logprob(token: TokenLogprobs) -> ContentLogprob:
    top = tuple(map(_top_logprob, token.top))
    return ContentLogprob(token=token.token, logprob=token.logprob, bytes=token.bytes, top_logprobs=top)


def _top_logprob(token: Likelihood) -> TopLogprob:
    return TopLogprob(token=token.token, logprob=token.logprob, bytes=token.bytes)


def _function(call: ToolCall) -> CalledFunction:
    return CalledFunction(name=call.name, arguments=msgspec.json.encode(call.arguments).decode())
