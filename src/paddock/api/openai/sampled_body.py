"""What bodies of chat completions and of completions have in common."""

from __future__ import annotations

from collections.abc import Mapping

from paddock.api.described import KeepAlive, Options
from paddock.api.openai.fields import check_range, given, sampling_options
from paddock.api.schemas import Body

MAX_ANSWERS = 8
"""To one prompt."""


class StreamOptions(Body, frozen=True):
    """How a stream is written."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Accepted, no effect: chunks are not padded."""


class SampledBody(Body, frozen=True):
    """Which model, how its tokens are chosen, and how the answer comes."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    # From here on not OpenAI's, but what clients of local servers send.
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None
    truncate: bool | None = None
    keep_alive: KeepAlive = None
    options: Options | None = None

    @property
    def tells_usage(self) -> bool:
        """Whether a stream is to end in what it took."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def answer_count(self) -> int:
        """How many answers are asked for. InvalidField."""
        count = 1 if self.n is None else self.n
        check_range("n", count, 1, MAX_ANSWERS)
        return count

    def sampling_options(self, **more: object) -> dict[str, object]:
        """What `options.merge` takes: its own fields, and `more` of them, over those in `options`. InvalidField."""
        fields = given(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            seed=self.seed,
            stop=self.stop,
            top_k=self.top_k,
            min_p=self.min_p,
            typical_p=self.typical_p,
            repeat_penalty=self.repeat_penalty,
            repetition_penalty=self.repetition_penalty,
        )
        return {**(self.options or {}), **sampling_options({**fields, **more})}


FIELDS: Mapping[str, str] = {
    "model": "honoured, required: the name of a model that is here",
    "stream": "honoured: server-sent events, [DONE] at the end",
    "stream_options": "honoured: include_usage; include_obfuscation has no effect",
    "n": "honoured: 1 to 8 answers at once; with a seed, each has the next one",
    "max_tokens": "honoured: most tokens of the answer; -1 for as many as the context holds; absent: the model's own",
    "temperature": "honoured: 0 to 2; absent: the model's own",
    "top_p": "honoured: 0 to 1; absent: the model's own",
    "frequency_penalty": "honoured: -2 to 2, over the last repeat_last_n tokens",
    "presence_penalty": "honoured: -2 to 2, over the last repeat_last_n tokens",
    "seed": "honoured: the same request gives the same answer",
    "stop": "honoured: up to 16 strings of 1 to 256 bytes",
    "logit_bias": "honoured: -100 to 100 for up to 1024 ids of tokens",
    "user": "no effect: for the client's own bookkeeping",
    "top_k": "honoured, not OpenAI's: only so many of the likeliest tokens; 0 or -1 for all",
    "min_p": "honoured, not OpenAI's: 0 to 1",
    "typical_p": "honoured, not OpenAI's: 0 to 1",
    "repeat_penalty": "honoured, not OpenAI's: as in options",
    "repetition_penalty": "honoured, not OpenAI's: another name of repeat_penalty",
    "truncate": "honoured, not OpenAI's: true cuts a prompt that is too long, as /api/chat does; else it is a 400",
    "keep_alive": "honoured, not OpenAI's: how long the model stays, as in /api/chat",
    "options": "honoured, not OpenAI's: as in /api/chat; fields of the body itself go before them",
    "StreamOptions.include_usage": "honoured: the stream ends in what it took",
    "StreamOptions.include_obfuscation": "no effect: chunks are not padded",
}
"""What becomes of each field, in one clause."""
