"""A body of /v1/completions as internal requests, one for each answer. What cannot be honoured is refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from paddock.api.answering import Start
from paddock.api.conversation import conversation
from paddock.api.openai.completion_schemas import CompletionBody
from paddock.api.openai.fields import check_range, sampling_of, with_seed_after
from paddock.errors import InvalidField, Unsupported
from paddock.protocol import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    Frame,
    PromptProgress,
    Sampling,
    Text,
)
from paddock.scheduler.service import LoadWish
from paddock.store.library import StoredModel
from paddock.supervisor.model_server import ModelServer

MAX_CHOICES = 128
"""Prompts times answers to each."""
MAX_LOGPROBS = 5

Prompt = str | tuple[int, ...]
"""A text, or ids of tokens."""


@dataclass(frozen=True)
class _Wanted:
    """What all answers to a request have in common."""

    body: CompletionBody
    model: StoredModel
    sampling: Sampling
    client: str
    tenant: str


def completion_starts(
    body: CompletionBody, model: StoredModel, client: str, tenant: str = ""
) -> tuple[list[Start], LoadWish]:
    """The beginnings of all answers, prompt by prompt, and what is asked of the runner. BadRequest."""
    prompts = _prompts(body.prompt)
    _check(body, model, prompts)
    sampling, wish = sampling_of(model, body.sampling_options(), logit_bias=body.logit_bias, top_logprobs=body.logprobs)
    wanted = _Wanted(body, model, sampling, client, tenant)
    return [_start(wanted, prompt, place) for prompt in prompts for place in range(body.answer_count)], wish


def _prompts(given: object) -> list[Prompt]:
    items: list[Any] = given if isinstance(given, list) else [given]
    if items is given and all(type(item) is int for item in items):
        items = [items]
    if not items or not all(_is_prompt(item) for item in items):
        raise InvalidField(
            '"prompt" must be a text, a list of texts, or one or more lists of token ids, none of them empty.',
            "prompt",
        )
    return [item if isinstance(item, str) else tuple(item) for item in items]


def _is_prompt(item: object) -> bool:
    if isinstance(item, list):
        return bool(item) and all(type(token) is int and 0 <= token < 2**31 for token in item)
    return isinstance(item, str) and bool(item)


def _check(body: CompletionBody, model: StoredModel, prompts: list[Prompt]) -> None:
    if "completion" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support completion')
    count = body.answer_count
    if len(prompts) * count > MAX_CHOICES:
        raise InvalidField(f"A request may have at most {MAX_CHOICES} answers, all its prompts together.", "prompt")
    if body.best_of not in (None, 1, count):
        raise InvalidField('"best_of" must be 1 or the same as "n": all answers are told.', "best_of")
    if body.logprobs is not None:
        check_range("logprobs", body.logprobs, 0, MAX_LOGPROBS)
    if body.echo and body.logprobs is not None:
        raise InvalidField('"echo" cannot be combined with "logprobs": leave one of the two out.', "echo")
    if body.suffix:
        _check_suffix(body, model, prompts)


def _check_suffix(body: CompletionBody, model: StoredModel, prompts: list[Prompt]) -> None:
    if "insert" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support insert')
    if body.raw or not all(isinstance(prompt, str) for prompt in prompts):
        raise InvalidField('"suffix" cannot be combined with raw or with token ids: leave one out.', "suffix")


def _start(wanted: _Wanted, prompt: Prompt, place: int) -> Start:
    start = _asked(wanted, prompt, with_seed_after(wanted.sampling, place))
    return _echoed(start, prompt) if wanted.body.echo else start


def _asked(wanted: _Wanted, prompt: Prompt, sampling: Sampling) -> Start:
    if isinstance(prompt, tuple) or wanted.body.suffix or wanted.body.raw:
        as_it_is = _untemplated(wanted, prompt, sampling)
        return lambda server: server.completion(as_it_is)
    templated = _templated(wanted, prompt, sampling)
    return lambda server: server.chat(templated)


def _untemplated(wanted: _Wanted, prompt: Prompt, sampling: Sampling) -> CompletionRequest:
    return CompletionRequest(
        prompt=prompt if isinstance(prompt, str) else "",
        suffix=wanted.body.suffix or "",
        context=() if isinstance(prompt, str) else prompt,
        sampling=sampling,
        truncate=wanted.body.truncate is True,
        client=wanted.client,
        tenant=wanted.tenant,
    )


def _templated(wanted: _Wanted, prompt: str, sampling: Sampling) -> ChatRequest:
    """A user's message. A text has no room for thinking, so a model that can do without does."""
    return ChatRequest(
        messages=conversation(wanted.model, (ChatMessage(role="user", content=prompt),)),
        template=wanted.model.template or None,
        think=False if "thinking" in wanted.model.facts.capabilities else None,
        sampling=sampling,
        truncate=wanted.body.truncate is True,
        client=wanted.client,
        tenant=wanted.tenant,
    )


def _echoed(start: Start, prompt: Prompt) -> Start:
    """The prompt itself, once the model has read it, then the answer."""

    async def begin(server: ModelServer) -> AsyncGenerator[Frame, None]:
        is_told = False
        async with aclosing(start(server)) as frames:
            async for frame in frames:
                if not is_told and not isinstance(frame, PromptProgress):
                    is_told = True
                    yield Text(content=await _text_of(prompt, server))
                yield frame

    return begin


async def _text_of(prompt: Prompt, server: ModelServer) -> str:
    return prompt if isinstance(prompt, str) else await server.detokenize(DetokenizeRequest(tokens=prompt))
