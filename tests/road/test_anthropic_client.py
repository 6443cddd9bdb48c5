"""The published `anthropic` client, unmodified, against a real server with a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.road.conftest import Road

QUESTION: list[Any] = [{"role": "user", "content": "Tell me a story about a red fox"}]
GREEDY: dict[str, Any] = {
    "model": "demo",
    "max_tokens": 40,
    "messages": QUESTION,
    "extra_body": {"temperature": 0},  # which this client has no parameter for any more
}
ADD: Any = {
    "name": "add",
    "description": "Adds two numbers.",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@pytest.fixture(scope="module")
def client(road: Road) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=road.url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def read(usage: Any) -> int:
    """Tokens of the prompt, however many of them had been read before."""
    return usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_stream_says_what_a_whole_answer_says(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**GREEDY)
    with client.messages.stream(**GREEDY) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()

    assert "fox" in text_of(whole)
    assert (whole.role, whole.model, whole.stop_reason) == ("assistant", "demo", "max_tokens")
    assert whole.usage.output_tokens == 40
    assert "".join(pieces) == text_of(final) == text_of(whole)
    assert len(pieces) > 1
    assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 40)
    assert read(final.usage) == read(whole.usage)
    assert final.usage.cache_read_input_tokens > 0


def test_the_beginning_of_a_stream_knows_the_prompt(client: anthropic.Anthropic) -> None:
    events = list(client.messages.create(**GREEDY, stream=True))

    started = next(event for event in events if event.type == "message_start")
    counted = client.messages.count_tokens(model="demo", messages=QUESTION)
    assert read(started.message.usage) == counted.input_tokens
    assert started.message.usage.output_tokens == 0


def test_counted_tokens_are_those_that_are_read(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"model": "demo", "messages": QUESTION, "system": "Be kind.", "tools": [ADD]}

    counted = client.messages.count_tokens(**asked)
    answer = client.messages.create(**asked, max_tokens=1)

    assert counted.input_tokens == read(answer.usage) > 20


def test_blocks_of_the_system_prompt_are_read(client: anthropic.Anthropic) -> None:
    system: Any = [{"type": "text", "text": "You are a fox.", "cache_control": {"type": "ephemeral"}}]
    billed: Any = [{"type": "text", "text": "x-anthropic-billing-header: cch=f00;"}, *system]

    plain = client.messages.count_tokens(model="demo", messages=QUESTION)
    told = client.messages.count_tokens(model="demo", messages=QUESTION, system=system)
    same = client.messages.count_tokens(model="demo", messages=QUESTION, system=billed)

    assert plain.input_tokens < told.input_tokens == same.input_tokens


def test_a_stop_sequence_ends_the_answer_and_is_named(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(**GREEDY, stop_sequences=["~~~", "fox"])

    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "fox")
    assert "fox" not in text_of(answer)


def test_an_answer_goes_on_where_it_was_begun(client: anthropic.Anthropic) -> None:
    whole = text_of(client.messages.create(**GREEDY))
    begun = " ".join(whole.split(" ")[:4])

    messages: Any = [*QUESTION, {"role": "assistant", "content": begun}]
    rest = text_of(client.messages.create(**{**GREEDY, "messages": messages, "max_tokens": 20}))

    assert whole.startswith(begun + rest)


def test_a_tool_is_called_and_its_result_read(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {**GREEDY, "max_tokens": 80, "tools": [ADD]}
    choice: Any = {"type": "tool", "name": "add", "disable_parallel_tool_use": True}

    with client.messages.stream(**asked, tool_choice=choice) as stream:
        called = stream.get_final_message()
    [call] = called.content
    assert call.type == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "3", "is_error": False}
    turns: Any = [*QUESTION, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
    answer = client.messages.create(**{**asked, "messages": turns, "max_tokens": 10})

    assert called.stop_reason == "tool_use"
    assert call.id.startswith("toolu_")
    assert {name: type(value) for name, value in call.input.items()} == {"a": int, "b": int}
    assert read(answer.usage) > read(called.usage)


def test_a_schema_is_obeyed_after_thinking(client: anthropic.Anthropic) -> None:
    held = {"format": {"type": "json_schema", "schema": SCHEMA}}
    asked: dict[str, Any] = {**GREEDY, "output_config": held}

    at_once = client.messages.create(**{**asked, "max_tokens": 100})
    thoughtful = client.messages.create(**{**asked, "max_tokens": 200}, thinking={"type": "adaptive"})

    assert set(json.loads(text_of(at_once))) == {"name", "age"}
    [thought, told] = thoughtful.content
    assert thought.type == "thinking"
    assert thought.thinking
    assert thought.signature
    assert told.type == "text"
    assert set(json.loads(told.text)) == {"name", "age"}


def test_errors_are_of_the_clients_own_kinds(client: anthropic.Anthropic, plain: str) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(**{**GREEDY, "model": "nobody"})
    with pytest.raises(anthropic.BadRequestError, match="does not support tools"):
        client.messages.create(**{**GREEDY, "model": plain}, tools=[ADD])
    with pytest.raises(anthropic.BadRequestError, match="Prompt is too long"):
        client.messages.create(**{**GREEDY, "messages": [{"role": "user", "content": "fox " * 20_000}]})
    with (
        pytest.raises(anthropic.BadRequestError, match="does not support thinking"),
        client.messages.stream(
            **{**GREEDY, "model": plain, "max_tokens": 2000}, thinking={"type": "enabled", "budget_tokens": 1024}
        ) as stream,
    ):
        stream.get_final_message()

    body: Any = missing.value.body
    assert body["error"]["type"] == "not_found_error"
    assert missing.value.request_id == body["request_id"]


def test_a_beta_is_no_obstacle(client: anthropic.Anthropic) -> None:
    answer = client.beta.messages.create(
        **GREEDY,
        betas=["context-management-2025-06-27"],
        metadata={"user_id": "somebody"},
        context_management={"edits": []},
    )

    assert answer.stop_reason == "max_tokens"
