"""Asking the server in OpenAI's dialect, and what a fake runner answers to it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from paddock.api.openai.chat_request import chat_request
from paddock.api.openai.chat_schemas import ChatCompletionBody
from paddock.errors import InvalidField
from paddock.protocol import ChatRequest, CompletionRequest, Likelihood, TokenLogprobs
from paddock.store.library import StoredModel
from tests.api.conftest import Served

QUESTION = [{"role": "user", "content": "Hi"}]
CHAT: dict[str, Any] = {"model": "smart", "messages": QUESTION}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
OTHER = {"type": "function", "function": {"name": "subtract", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"z": {"type": "integer"}}, "required": ["z"]}


async def events(served: Served, path: str, body: dict[str, Any]) -> list[Any]:
    """The messages of a stream, each a JSON object or a word such as [DONE]."""
    async with served.session.post(served.url + path, json={**body, "stream": True}) as response:
        assert response.status == 200, await response.text()
        assert response.headers["content-type"].startswith("text/event-stream")
        text = await response.text()
    assert text.endswith("\n\n")
    found = [event.removeprefix("data: ") for event in text.removesuffix("\n\n").split("\n\n")]
    return [each if each == "[DONE]" else json.loads(each) for each in found]


async def refused(served: Served, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The error of a request that is answered 400 before any runner hears of it."""
    before = len(served.servers.made)
    status, answer = await served.post(path, body)
    assert status == 400, answer
    assert len(served.servers.made) == before
    return dict(answer["error"])


def wanted(model: StoredModel, **fields: Any) -> ChatRequest:
    """What a body with these fields asks of the runner. BadRequest."""
    return chat_request(body_of(**fields), model, "client")[0]


def blamed(model: StoredModel, **fields: Any) -> InvalidField:
    """The error of a body that has a field to blame."""
    with pytest.raises(InvalidField) as caught:
        wanted(model, **fields)
    return caught.value


def body_of(**fields: Any) -> ChatCompletionBody:
    """A body as it is read from JSON."""
    return msgspec.json.decode(msgspec.json.encode(CHAT | fields), type=ChatCompletionBody)


def asked(served: Served) -> Any:
    """The last request that reached a runner."""
    return served.servers.made[-1].requests[-1]


def chat_asked(served: Served) -> ChatRequest:
    """The same, of a conversation."""
    request = asked(served)
    assert isinstance(request, ChatRequest)
    return request


def text_asked(served: Served) -> CompletionRequest:
    """The same, of a text that goes to the model as it is."""
    request = asked(served)
    assert isinstance(request, CompletionRequest)
    return request


def likely(token: str, logprob: float = -0.5, **top: float) -> TokenLogprobs:
    """A token, and what else was likely at its place."""
    others = tuple(Likelihood(token=each, logprob=value, bytes=tuple(each.encode())) for each, value in top.items())
    return TokenLogprobs(token=token, logprob=logprob, bytes=tuple(token.encode()), top=others)
