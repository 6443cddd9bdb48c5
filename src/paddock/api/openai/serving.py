"""Serving the answers to one request, whole or as a stream: what chat completions and completions have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import msgspec
from starlette.responses import Response

from paddock.api import sse
from paddock.api.answering import Start
from paddock.api.borrowing import Borrowing
from paddock.api.chunks import Piece
from paddock.api.errors import openai_body_of
from paddock.api.openai.fields import counts_of
from paddock.api.openai.heading import Heading
from paddock.api.openai.several import answers
from paddock.api.openai.usage import Usage, usage_of
from paddock.api.stream import JSON, Stream
from paddock.errors import PaddockError
from paddock.protocol import Done

_encoder = msgspec.json.Encoder()


class Writer(Protocol):
    """Makes the objects that a route answers with."""

    @property
    def heading(self) -> Heading:
        """What all of them have in common."""

    def whole(self, answers: Sequence[Sequence[Piece]], endings: Sequence[Done], usage: Usage) -> msgspec.Struct:
        """All answers as one object."""

    def piece(self, index: int, piece: Piece) -> msgspec.Struct:
        """Some of one of the answers."""

    def end(self, index: int, done: Done) -> Sequence[msgspec.Struct]:
        """The end of one of the answers."""

    def usage(self, usage: Usage) -> msgspec.Struct:
        """What all of them took."""


@dataclass(frozen=True)
class Order:
    """One request, ready to be served: everything that could be refused has been."""

    borrowing: Borrowing
    starts: Sequence[Start]
    """One for each answer, in the order of their indices."""
    answers_per_prompt: int
    writer: Writer
    began: int
    """As `time.monotonic_ns` tells it."""

    def usage(self, endings: dict[int, Done]) -> Usage:
        """What the answers took."""
        return usage_of(counts_of(_in_order(endings), self.answers_per_prompt))


def respond(order: Order, *, is_streamed: bool) -> Response:
    """The answer to a request."""
    if is_streamed:
        return Stream(_events(order), sse.EVENTS, late_error)
    return Stream(_whole(order), JSON)


def late_error(error: PaddockError) -> bytes:
    """The event that ends a stream in an error; no [DONE] follows it."""
    return sse.nameless_event(openai_body_of(error))


async def _events(order: Order) -> AsyncGenerator[bytes, None]:
    """An event for each piece of each answer, one for each end, the usage if it was asked for, and [DONE]."""
    writer, endings = order.writer, dict[int, Done]()
    async with aclosing(answers(order.borrowing, order.starts, order.began)) as told:
        async for index, piece in told:
            if isinstance(piece, Piece):
                yield _event(writer.piece(index, piece))
            else:
                endings[index] = piece.done
                for chunk in writer.end(index, piece.done):
                    yield _event(chunk)
    if writer.heading.tells_usage:
        yield _event(writer.usage(order.usage(endings)))
    yield sse.nameless_event(b"[DONE]")


async def _whole(order: Order) -> AsyncGenerator[bytes, None]:
    """The same as one object."""
    pieces: list[list[Piece]] = [[] for _ in order.starts]
    endings: dict[int, Done] = {}
    async with aclosing(answers(order.borrowing, order.starts, order.began)) as told:
        async for index, piece in told:
            if isinstance(piece, Piece):
                pieces[index].append(piece)
            else:
                endings[index] = piece.done
    yield _encoder.encode(order.writer.whole(pieces, _in_order(endings), order.usage(endings)))


def _event(chunk: msgspec.Struct) -> bytes:
    return sse.nameless_event(_encoder.encode(chunk))


def _in_order(endings: dict[int, Done]) -> list[Done]:
    return [endings[index] for index in sorted(endings)]
