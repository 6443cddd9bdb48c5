"""Requests and answers in the shapes of each dialect's public documentation, replayed against the server.

Every recording says which route is asked for what, and what has to come back: `answer` for an object, `stream` for
lines or events (`{"event": …, "data": …}`), `text` for the very words. `runner` picks what the model's runner says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import msgspec
import pytest

from paddock.api.openapi.document import document
from paddock.api.routes import ROUTES
from paddock.protocol import Likelihood, Text, Thinking, TokenLogprobs, ToolCall
from tests.api.conftest import Served
from tests.fakes.fake_server import Step, done
from tests.wire.shapes import differences, stream_differences

RECORDINGS = Path(__file__).parent / "recordings"
NAMES = sorted(str(path.relative_to(RECORDINGS).with_suffix("")) for path in RECORDINGS.rglob("*.json"))

_HELLO = Likelihood(token="Hello", logprob=-0.1, bytes=tuple(b"Hello"))
_TOKEN = TokenLogprobs(token="Hello", logprob=-0.1, bytes=tuple(b"Hello"), top=(_HELLO, _HELLO))
RUNNERS: Mapping[str, Sequence[Step]] = {
    "context": (Text(content="Hello"), msgspec.structs.replace(done(), context=(1, 2, 3))),
    "thinking": (Thinking(content="Let me see"), Text(content="Three"), done(eval_count=4)),
    "tools": (
        ToolCall(id="call_1", name="weather_of", arguments={"location": "Graz", "format": "celsius"}),
        done(eval_count=3),
    ),
    "logprobs": (Text(content="Hello", logprobs=(_TOKEN,)), done(eval_count=1)),
}


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """The OpenAPI document, which every answer has to keep to as well."""
    return document(ROUTES, "")


@pytest.mark.parametrize("name", NAMES)
async def test_the_answer_has_the_recorded_shape(every_kind: Served, told: dict[str, Any], name: str) -> None:
    recording = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    await prepare(every_kind, recording)
    method, _, path = recording["route"].partition(" ")

    async with every_kind.session.request(method, every_kind.url + path, json=recording.get("request")) as response:
        assert response.status == recording["status"], await response.text()
        text = await response.text()

    if "text" in recording:
        assert text == recording["text"]
    elif "answer" in recording:
        assert list(differences(recording["answer"], json.loads(text))) == []
    else:
        assert list(stream_differences(recording["stream"], list(messages(response, text)))) == []
    check_against_document(told, recording, response, text)


async def prepare(server: Served, recording: Mapping[str, Any]) -> None:
    """Let the runner say what the recording is about; have a model loaded where it lists loaded ones."""
    wanted = recording.get("runner")
    if wanted in RUNNERS:
        server.script(f"{recording['request']['model']}:latest").answer = RUNNERS[wanted]
    elif wanted == "loaded":
        await server.post("/api/generate", {"model": "tiny"})


def messages(response: aiohttp.ClientResponse, text: str) -> Iterator[Any]:
    """The lines or the events of a stream."""
    if response.content_type == "application/x-ndjson":
        yield from map(json.loads, text.splitlines())
        return
    assert response.content_type == "text/event-stream"
    for block in filter(None, text.split("\n\n")):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            data = fields["data"]
            yield {**fields, "data": data if data == "[DONE]" else json.loads(data)}


def check_against_document(
    told: dict[str, Any], recording: Mapping[str, Any], response: aiohttp.ClientResponse, text: str
) -> None:
    """What came is what the document says of the route."""
    method, _, path = recording["route"].partition(" ")
    operation = next(
        methods[method.lower()]
        for template, methods in sorted(told["paths"].items(), key=lambda pair: pair[0].count("{"))
        if method.lower() in methods and matches(template, path)
    )
    outcome = operation["responses"].get(str(response.status)) or operation["responses"][f"{response.status // 100}XX"]
    if not text:
        return
    schema = outcome["content"][response.content_type]["schema"]
    validator = jsonschema.Draft202012Validator({**told, **schema})
    if response.content_type == "application/json":
        validator.validate(json.loads(text))
    elif response.content_type == "application/x-ndjson":
        for message in messages(response, text):
            validator.validate(message)
    elif response.content_type == "text/event-stream":
        for message in messages(response, text):
            if message["data"] != "[DONE]":
                validator.validate(message["data"])


def matches(template: str, path: str) -> bool:
    ours, theirs = template.split("/"), path.split("/")
    return len(ours) == len(theirs) and all(
        own == their or own.startswith("{") for own, their in zip(ours, theirs, strict=True)
    )


def test_there_are_recordings_of_every_dialect() -> None:
    assert {name.partition("/")[0] for name in NAMES} == {"ollama", "openai", "anthropic", "jina"}
    assert len(NAMES) > 60
