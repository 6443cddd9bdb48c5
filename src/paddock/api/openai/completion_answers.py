"""Pieces of answers as the objects of /v1/completions: one whole, or chunks of it. Pure."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from paddock.api.chunks import Piece, together
from paddock.api.openai.completion_schemas import TextChoice, TextCompletion, TextLogprobs
from paddock.api.openai.heading import Heading
from paddock.api.openai.usage import Usage
from paddock.protocol import Done, TokenLogprobs


class _Offsets:
    """Where the tokens of one text begin: a token may be a part of a character, so their bytes are put together."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._characters = 0

    def of(self, token: TokenLogprobs) -> int:
        """Of the next token, in characters."""
        offset = self._characters
        self._characters += len(self._decode(bytes(token.bytes)))
        return offset


@dataclass
class TextWriter:
    """Writes the answers to one request. It remembers how far the text of each has come."""

    heading: Heading
    _offsets: dict[int, _Offsets] = field(default_factory=dict)

    def whole(self, answers: Sequence[Sequence[Piece]], endings: Sequence[Done], usage: Usage) -> TextCompletion:
        """All answers, in the order of their indices, as one object."""
        choices = (
            msgspec.structs.replace(self._choice(index, together(pieces)), finish_reason=done.reason)
            for index, (pieces, done) in enumerate(zip(answers, endings, strict=True))
        )
        return msgspec.structs.replace(self._chunk(*choices), usage=usage)

    def piece(self, index: int, piece: Piece) -> TextCompletion:
        """Some of an answer."""
        return self._chunk(self._choice(index, piece))

    def end(self, index: int, done: Done) -> list[TextCompletion]:
        """The end of an answer."""
        return [self._chunk(TextChoice(text="", index=index, finish_reason=done.reason))]

    def usage(self, usage: Usage) -> TextCompletion:
        """What the answers took."""
        return msgspec.structs.replace(self._chunk(), usage=usage)

    def _chunk(self, *choices: TextChoice) -> TextCompletion:
        return TextCompletion(choices=choices, **self.heading.fields())

    def _choice(self, index: int, piece: Piece) -> TextChoice:
        logprobs = self._logprobs(index, piece.logprobs) if piece.logprobs else None
        return TextChoice(text=piece.text, index=index, logprobs=logprobs)

    def _logprobs(self, index: int, tokens: Sequence[TokenLogprobs]) -> TextLogprobs:
        offsets = self._offsets.setdefault(index, _Offsets())
        return TextLogprobs(
            tokens=tuple(token.token for token in tokens),
            token_logprobs=tuple(token.logprob for token in tokens),
            top_logprobs=tuple({**_top(token), token.token: token.logprob} for token in tokens),
            text_offset=tuple(map(offsets.of, tokens)),
        )


def _top(token: TokenLogprobs) -> dict[str, float]:
    return {each.token: each.logprob for each in token.top}
