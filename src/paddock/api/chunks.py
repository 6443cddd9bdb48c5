"""Frames of an answer as the chunks of Ollama's API. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec

from paddock.api.answers import (
    AnswerCall,
    AnswerFunction,
    AnswerLikelihood,
    AnswerLogprob,
    AnswerMessage,
    ChatAnswer,
    GenerateAnswer,
    Metrics,
)
from paddock.protocol import Done, Frame, Likelihood, Text, Thinking, TokenLogprobs, ToolCall


class Piece(msgspec.Struct, frozen=True):
    """Some of an answer; of the whole answer, all of it."""

    text: str = ""
    thinking: str = ""
    calls: tuple[ToolCall, ...] = ()
    calls_before: int = 0
    """Calls of the same answer in earlier pieces."""
    logprobs: tuple[TokenLogprobs, ...] = ()


Chunk = Callable[[Piece, bool], msgspec.Struct]
"""The answer's shape, from a piece and whether it is the last."""


def piece_of(frame: Frame, calls_before: int) -> Piece | None:
    """What a frame adds to the answer; None for one that adds nothing."""
    if isinstance(frame, Text):
        return Piece(text=frame.content, logprobs=frame.logprobs)
    if isinstance(frame, Thinking):
        return Piece(thinking=frame.content, logprobs=frame.logprobs)
    if isinstance(frame, ToolCall):
        return Piece(calls=(frame,), calls_before=calls_before)
    return None


def together(pieces: Iterable[Piece]) -> Piece:
    """All pieces of an answer as one."""
    found = list(pieces)
    return Piece(
        text="".join(piece.text for piece in found),
        thinking="".join(piece.thinking for piece in found),
        calls=tuple(call for piece in found for call in piece.calls),
        logprobs=tuple(logprob for piece in found for logprob in piece.logprobs),
    )


def generate_chunk(model: str) -> Chunk:
    """The chunks of /api/generate for a model of this name."""

    def chunk(piece: Piece, is_last: bool) -> msgspec.Struct:
        return GenerateAnswer(
            model=model,
            created_at=timestamp(),
            response=piece.text,
            thinking=piece.thinking or msgspec.UNSET,
            done=is_last,
            logprobs=_logprobs(piece),
        )

    return chunk


def chat_chunk(model: str) -> Chunk:
    """The chunks of /api/chat for a model of this name."""

    def chunk(piece: Piece, is_last: bool) -> msgspec.Struct:
        calls = tuple(_call(call, place) for place, call in enumerate(piece.calls, piece.calls_before))
        message = AnswerMessage(role="assistant", content=piece.text, thinking=piece.thinking, tool_calls=calls)
        return ChatAnswer(model=model, created_at=timestamp(), message=message, done=is_last, logprobs=_logprobs(piece))

    return chunk


def metrics_of(done: Done, load_duration: int, total_duration: int) -> Metrics:
    """What the last chunk tells about the work; durations are nanoseconds."""
    return Metrics(
        done_reason=done.reason,
        total_duration=total_duration,
        load_duration=load_duration,
        prompt_eval_count=done.prompt_eval_count,
        prompt_eval_duration=done.prompt_eval_duration_ns,
        eval_count=done.eval_count,
        eval_duration=done.eval_duration_ns,
        context=done.context,
    )


def timestamp() -> datetime:
    """Now, for `created_at`: in JSON it becomes RFC 3339 in UTC, as Ollama writes it."""
    return datetime.now(UTC)


def _call(call: ToolCall, place: int) -> AnswerCall:
    return AnswerCall(id=call.id, function=AnswerFunction(index=place, name=call.name, arguments=call.arguments))


def _logprobs(piece: Piece) -> tuple[AnswerLogprob, ...] | msgspec.UnsetType:
    return tuple(map(_logprob, piece.logprobs)) or msgspec.UNSET


def _logprob(token: TokenLogprobs) -> AnswerLogprob:
    top = tuple(map(_likelihood, token.top)) or msgspec.UNSET
    return AnswerLogprob(token=token.token, logprob=token.logprob, bytes=token.bytes, top_logprobs=top)


def _likelihood(token: Likelihood) -> AnswerLikelihood:
    return AnswerLikelihood(token=token.token, logprob=token.logprob, bytes=token.bytes)
