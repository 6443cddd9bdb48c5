"""Thinking, tools, formats and logprobs in /api/chat and /api/generate, over runners that do what they are told."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import ollama
import pytest

from paddock.protocol import (
    CalledTool,
    ChatRequest,
    CompletionRequest,
    Likelihood,
    Text,
    Thinking,
    TokenLogprobs,
    ToolCall,
)
from tests.api.conftest import Served
from tests.fakes.fake_server import done

TEMPLATE = "{{ tools }}<tool_call>{{ tool_call.name }}<think></think>"
QUESTION = [{"role": "user", "content": "Hi"}]
CHAT = {"model": "smart", "messages": QUESTION}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
CALLS = (
    ToolCall(id="call_1", name="add", arguments={"b": 2, "a": 1}),
    ToolCall(id="call_2", name="add", arguments={}),
)


@pytest.fixture
async def smart(served: Served) -> Served:
    """A server with a model that thinks and calls tools, and does both."""
    await served.post("/api/create", {"model": "smart", "from": "tiny", "template": TEMPLATE})
    served.script("smart:latest").answer = (
        *(Thinking(content="H"), Thinking(content="m"), Text(content="Yes"), *CALLS),
        done(eval_count=3),
    )
    return served


def asked(served: Served) -> Any:
    """The last request that reached a runner."""
    return served.servers.made[-1].requests[-1]


# ---- thinking ----


async def test_chat_streams_thinking_and_calls_in_messages_of_their_own(smart: Served) -> None:
    lines = await smart.lines("/api/chat", CHAT)

    messages = [line["message"] for line in lines]
    assert messages[:3] == [
        {"role": "assistant", "content": "", "thinking": "H"},
        {"role": "assistant", "content": "", "thinking": "m"},
        {"role": "assistant", "content": "Yes"},
    ]
    assert [call for message in messages for call in message.get("tool_calls", ())] == [
        {"id": "call_1", "function": {"index": 0, "name": "add", "arguments": {"b": 2, "a": 1}}},
        {"id": "call_2", "function": {"index": 1, "name": "add", "arguments": {}}},
    ]
    assert messages[-1] == {"role": "assistant", "content": ""}
    assert lines[-1]["done_reason"] == "stop"
    assert list(messages[3]["tool_calls"][0]["function"]["arguments"]) == ["b", "a"]


async def test_chat_without_streaming_has_it_all_in_one_message(smart: Served) -> None:
    _, answer = await smart.post("/api/chat", CHAT | {"stream": False})

    message = answer["message"]
    assert (message["thinking"], message["content"]) == ("Hm", "Yes")
    assert [call["function"]["index"] for call in message["tool_calls"]] == [0, 1]


async def test_generate_has_thinking_beside_its_response(smart: Served) -> None:
    lines = await smart.lines("/api/generate", {"model": "smart", "prompt": "Hi"})
    _, whole = await smart.post("/api/generate", {"model": "smart", "prompt": "Hi", "stream": False})

    assert [(line.get("thinking"), line["response"]) for line in lines[:3]] == [("H", ""), ("m", ""), (None, "Yes")]
    assert (whole["thinking"], whole["response"]) == ("Hm", "Yes")


@pytest.mark.parametrize(
    ("think", "expected"),
    [(None, None), (True, True), (False, False), ("low", "low"), ("high", "high"), ("max", "high")],
)
async def test_think_reaches_the_runner(smart: Served, think: object, expected: object) -> None:
    await smart.lines("/api/chat", CHAT | {"think": think})
    assert asked(smart).think == expected

    await smart.lines("/api/generate", {"model": "smart", "prompt": "Hi", "think": think})
    assert asked(smart).think == expected


async def test_a_template_of_the_request_decides_whether_the_model_thinks(smart: Served) -> None:
    body = {"prompt": "Hi", "think": True}
    status, error = await smart.post("/api/generate", body | {"model": "smart", "template": "{{ messages }}"})
    assert (status, error["error"]) == (400, '"smart:latest" does not support thinking')

    status, _ = await smart.post("/api/generate", body | {"model": "tiny", "template": TEMPLATE})
    assert status == 200


# ---- tools ----


async def test_tools_and_earlier_calls_reach_the_runner(smart: Served) -> None:
    call = {"function": {"name": "add", "arguments": {"z": 1, "a": 2}}}
    messages = [
        *QUESTION,
        {"role": "assistant", "thinking": "Hm", "tool_calls": [call | {"id": "call_9"}, call]},
        {"role": "tool", "content": "3", "tool_name": "add", "tool_call_id": "call_9"},
    ]

    await smart.lines("/api/chat", {"model": "smart", "messages": messages, "tools": [TOOL]})

    request = asked(smart)
    assert isinstance(request, ChatRequest)
    assert request.tools == (TOOL,)
    _, said, answered = request.messages
    arguments = {"z": 1, "a": 2}
    assert said.tool_calls == (
        CalledTool(name="add", arguments=arguments, id="call_9"),
        CalledTool(name="add", arguments=arguments),
    )
    assert list(said.tool_calls[0].arguments) == ["z", "a"]
    assert (said.content, said.thinking) == ("", "Hm")
    assert (answered.content, answered.tool_name, answered.tool_call_id) == ("3", "add", "call_9")


def with_function(**fields: object) -> dict[str, object]:
    return {"tools": [{"type": "function", "function": {"name": "add", **fields}}]}


def nested(levels: int) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": nested(levels - 1)}} if levels else {"type": "object"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"tools": [5]}, 'must be an object of the type "function"'),
        ({"tools": [{"type": "search"}]}, 'must be an object of the type "function"'),
        ({"tools": [{"type": "function"}]}, 'must have a "function"'),
        (with_function(name=""), "The name of a tool must have 1 to 128 letters"),
        (with_function(name="a b"), "The name of a tool must have 1 to 128 letters"),
        (with_function(name="x" * 129), "The name of a tool must have 1 to 128 letters"),
        (with_function(name=5), "The name of a tool must have 1 to 128 letters"),
        (with_function(description=5), 'The description of the tool "add" must be a text.'),
        (with_function(parameters=[]), 'The parameters of the tool "add" must be a JSON schema of an object.'),
        (with_function(parameters={"properties": 5}), 'The parameters of the tool "add"'),
        (with_function(parameters=nested(20)), "nested in more than 32 levels"),
        (with_function(description="x" * 300_000), "larger than 262144 bytes"),
        ({"tools": [TOOL] * 2}, "have the same name"),
        ({"tools": [TOOL] * 129}, "at most 128 tools"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "must have a function with a name"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "x"}}]}]},
            "object",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}] * 129}]}, "at most 128"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": nested(20)}}]}]},
            "nested in more than 32 levels",
        ),
    ],
)
async def test_tools_that_are_none_are_refused_in_words(smart: Served, fields: dict[str, Any], sentence: str) -> None:
    status, error = await smart.post("/api/chat", CHAT | fields)

    assert status == 400
    assert sentence in error["error"]
    assert smart.servers.made == []


async def test_a_tool_may_leave_out_what_can_be_left_out(smart: Served) -> None:
    await smart.lines("/api/chat", CHAT | {"tools": [{"function": {"name": "now", "description": None}}]})

    function = {"name": "now", "parameters": {"type": "object", "properties": {}}}
    assert asked(smart).tools == ({"type": "function", "function": function},)


# ---- formats, gaps, logprobs ----


@pytest.mark.parametrize(
    ("wanted", "schema"),
    [
        (None, ""),
        ("", ""),
        ("json", '{"type":"object"}'),
        ({"type": "object", "properties": {"z": {}, "a": {}}}, '{"type":"object","properties":{"z":{},"a":{}}}'),
    ],
)
async def test_a_format_reaches_the_runner_as_a_schema(smart: Served, wanted: object, schema: str) -> None:
    await smart.lines("/api/chat", CHAT | {"format": wanted})
    assert asked(smart).answer_schema == schema

    for raw in (False, True):
        await smart.lines("/api/generate", {"model": "smart", "prompt": "Hi", "raw": raw, "format": wanted})
        assert asked(smart).answer_schema == schema


async def test_a_suffix_reaches_a_model_that_fills_gaps(served: Served) -> None:
    model = await can_insert(served)
    body = {"model": model, "prompt": "def f", "suffix": "return 1"}

    await served.lines("/api/generate", body)

    request = asked(served)
    assert isinstance(request, CompletionRequest)
    assert (request.prompt, request.suffix) == ("def f", "return 1")
    for more in ({"system": "s"}, {"raw": True}, {"context": [1]}, {"template": "x"}):
        status, error = await served.post("/api/generate", body | more)
        assert status == 400
        assert "cannot be combined" in error["error"]


async def can_insert(served: Served) -> str:
    """A model with the tokens for it, made of uploaded files as a client would."""
    tokens = {str(index): {"content": f"<fim_{part}>"} for index, part in enumerate(("prefix", "suffix", "middle"))}
    settings = served.library.blobs.add_bytes(msgspec.json.encode({"added_tokens_decoder": tokens}))
    files = {str(layer.name): layer.digest for layer in served.library.list()[0].manifest.files}
    files["tokenizer_config.json"] = settings.digest
    status, answer = await served.post("/api/create", {"model": "filler", "files": files, "stream": False})
    assert status == 200, answer
    return "filler"


async def test_logprobs_come_with_the_pieces_that_they_belong_to(smart: Served) -> None:
    yes = TokenLogprobs(
        token="Yes", logprob=-0.5, bytes=(89,), top=(Likelihood(token="No", logprob=-1.0, bytes=(78,)),)
    )
    hm = TokenLogprobs(token="H", logprob=-0.25, bytes=(72,))
    smart.script("smart:latest").answer = (
        Thinking(content="H", logprobs=(hm,)),
        Text(content="Yes", logprobs=(yes,)),
        done(),
    )
    options = {"logprobs": True, "top_logprobs": 1}

    lines = await smart.lines("/api/chat", CHAT | options)
    _, whole = await smart.post("/api/generate", {"model": "smart", "prompt": "Hi", "stream": False} | options)

    top = {"token": "No", "logprob": -1.0, "bytes": [78]}
    expected = [
        {"token": "H", "logprob": -0.25, "bytes": [72]},
        {"token": "Yes", "logprob": -0.5, "bytes": [89], "top_logprobs": [top]},
    ]
    assert [line.get("logprobs") for line in lines] == [expected[:1], expected[1:], None]
    assert whole["logprobs"] == expected
    assert (asked(smart).sampling.logprobs, asked(smart).sampling.top_logprobs) == (True, 1)


# ---- the published client ----


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
      a: The first number.
      b: The second number.
    """
    return a + b


async def test_the_client_calls_a_python_function(smart: Served) -> None:
    answer = await smart.client.chat("smart", QUESTION, tools=[add])

    calls = answer.message.tool_calls
    assert calls is not None
    assert add(**calls[0].function.arguments) == 3
    [tool] = asked(smart).tools
    assert tool["function"]["name"] == "add"
    assert tool["function"]["description"] == "Add two numbers."
    assert tool["function"]["parameters"]["required"] == ["a", "b"]

    messages = [*QUESTION, answer.message, {"role": "tool", "content": "3", "tool_name": "add"}]
    await smart.client.chat("smart", messages, tools=[add])

    assert asked(smart).messages[1].tool_calls[0].arguments == {"a": 1, "b": 2}
    assert asked(smart).messages[2].tool_name == "add"


async def test_the_client_gets_thinking_and_logprobs(smart: Served) -> None:
    answer = await smart.client.chat("smart", QUESTION, think=True)
    pieces = [piece async for piece in await smart.client.generate("smart", "Hi", think="high", stream=True)]

    assert (answer.message.thinking, answer.message.content) == ("Hm", "Yes")
    assert "".join(piece.thinking or "" for piece in pieces) == "Hm"
    with pytest.raises(ollama.ResponseError, match="does not support thinking"):
        await smart.client.chat("tiny", QUESTION, think=True)


async def test_the_client_sends_a_schema_of_pydantics(smart: Served) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

    await smart.client.chat("smart", QUESTION, format=schema)

    assert json.loads(asked(smart).answer_schema) == schema


async def test_show_and_tags_tell_what_a_model_can_do(smart: Served) -> None:
    shown = await smart.client.show("smart")
    tags = await smart.client.list()

    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert {model.model for model in tags.models} == {"smart:latest", "tiny:latest"}
