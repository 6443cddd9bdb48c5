"""The published `openai` client, unmodified, against a real server with a real model.

The demo model thinks where nothing is said about it: tests of other things tell it not to.
"""

from __future__ import annotations

import json
import math
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall
from pydantic import BaseModel

from tests.road.conftest import Road

QUESTION = [{"role": "user", "content": "Tell me a story about a red fox"}]
ASK: dict[str, Any] = {"model": "demo", "messages": QUESTION, "reasoning_effort": "none"}
LONG = [{"role": "user", "content": "word " * 5000}]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}


class Animal(BaseModel):
    """What the model is to tell about."""

    is_wild: bool
    age: int


def test_a_chat_streams_the_same_text_that_it_answers_whole(openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(**ASK, temperature=0, max_tokens=40)
    chunks = list(
        openai_client.chat.completions.create(
            **ASK, temperature=0, max_tokens=40, stream=True, stream_options={"include_usage": True}
        )
    )

    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == said
    assert "fox" in said
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 40
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens > 5
    assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant", None]


def test_each_of_several_answers_has_the_seed_after_the_one_before(openai_client: openai.OpenAI) -> None:
    def texts(seed: int, n: int) -> list[str | None]:
        answer = openai_client.chat.completions.create(**ASK, temperature=1.5, seed=seed, n=n, max_tokens=20)
        return [choice.message.content for choice in answer.choices]

    together = texts(7, 3)

    assert together == [text for seed in (7, 8, 9) for text in texts(seed, 1)]
    assert len(set(together)) > 1


def test_several_answers_stream_side_by_side(openai_client: openai.OpenAI) -> None:
    fields = ASK | {"seed": 7, "n": 2, "max_tokens": 10}

    whole = openai_client.chat.completions.create(**fields)
    said = ["", ""]
    for chunk in openai_client.chat.completions.create(**fields, stream=True):
        said[chunk.choices[0].index] += chunk.choices[0].delta.content or ""

    assert said == [choice.message.content for choice in whole.choices]


def test_logprobs_tell_of_every_token(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(**ASK, temperature=0, max_tokens=10, logprobs=True, top_logprobs=2)

    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(token.token for token in logprobs.content) == answer.choices[0].message.content
    for token in logprobs.content:
        assert token.top_logprobs[0].token == token.token  # greedy
        assert math.isclose(token.top_logprobs[0].logprob, token.logprob, abs_tol=1e-5)
        assert bytes(token.bytes or []).decode() == token.token


def test_a_bias_keeps_a_token_away(openai_client: openai.OpenAI, road: Road) -> None:
    first = road.client.generate(
        "demo", QUESTION[0]["content"], think=False, options={"temperature": 0, "num_predict": 1}
    )
    token = first.context[-1]

    answer = openai_client.chat.completions.create(**ASK, temperature=0, max_tokens=1, logit_bias={str(token): -100})

    assert answer.choices[0].message.content != first.response


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_call_that_is_demanded_is_made(openai_client: openai.OpenAI, choice: object) -> None:
    answer = openai_client.chat.completions.create(
        **ASK,
        tools=[ADD],
        tool_choice=choice,
        parallel_tool_calls=False,
        seed=1,
        max_tokens=200,
    )

    [call] = answer.choices[0].message.tool_calls or ()
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert call.function.name == "add"
    assert set(json.loads(call.function.arguments)) == {"a", "b"}
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None

    turns = [*QUESTION, answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "3"}]
    second = openai_client.chat.completions.create(**ASK | {"messages": turns}, tools=[ADD], max_tokens=5)
    assert second.choices[0].message.content is not None


def test_the_streaming_helper_gathers_a_call(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.stream(
        **ASK,
        tools=[ADD],
        tool_choice="required",
        parallel_tool_calls=False,
        seed=7,
        max_tokens=300,
    ) as stream:
        answer = stream.get_final_completion()

    assert answer.choices[0].message.tool_calls
    for call in answer.choices[0].message.tool_calls:
        assert call.function.name == "add"
        assert set(call.function.parsed_arguments) == {"a", "b"}


def test_beside_tools_an_answer_calls_them_or_obeys_its_schema(openai_client: openai.OpenAI) -> None:
    kinds = set()
    for seed in range(3):
        answer = openai_client.chat.completions.parse(
            **ASK,
            tools=[ADD],
            response_format=Animal,
            parallel_tool_calls=False,
            seed=seed,
            temperature=2,
            max_tokens=200,
        )
        message = answer.choices[0].message
        kinds.add("call" if message.tool_calls else "answer")
        assert (message.parsed is None) == bool(message.tool_calls)
        for call in message.tool_calls or ():
            assert set(call.function.parsed_arguments) == {"a", "b"}

    assert kinds <= {"call", "answer"}


def test_an_answer_is_parsed_into_a_model(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.parse(**ASK, response_format=Animal, seed=1, max_tokens=100)

    assert isinstance(answer.choices[0].message.parsed, Animal)


def test_completions_answer_whole_and_as_a_stream(openai_client: openai.OpenAI) -> None:
    fields = {"model": "demo", "prompt": QUESTION[0]["content"], "temperature": 0, "max_tokens": 20}

    whole = openai_client.completions.create(**fields, logprobs=1)
    pieces = [chunk.choices[0].text for chunk in openai_client.completions.create(**fields, stream=True)]
    echoed = openai_client.completions.create(**fields, echo=True)
    chat = openai_client.chat.completions.create(**ASK, temperature=0, max_tokens=20)

    text = whole.choices[0].text
    assert text == "".join(pieces) == chat.choices[0].message.content
    assert echoed.choices[0].text == fields["prompt"] + text
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert all(
        text[start:].startswith(token) for start, token in zip(logprobs.text_offset, logprobs.tokens, strict=True)
    )


def test_token_ids_go_to_the_model_as_they_are(openai_client: openai.OpenAI, road: Road) -> None:
    prompt = "Once upon a time"
    raw = road.client.generate("demo", prompt, raw=True, options={"temperature": 0, "num_predict": 8})
    templated = openai_client.completions.create(model="demo", prompt=prompt, temperature=0, max_tokens=8)
    as_it_is = openai_client.completions.create(
        model="demo", prompt=prompt, temperature=0, max_tokens=8, extra_body={"raw": True}
    )

    assert as_it_is.choices[0].text == raw.response != templated.choices[0].text


def test_models_are_listed_and_found(openai_client: openai.OpenAI) -> None:
    assert "demo:latest" in [model.id for model in openai_client.models.list()]
    assert openai_client.models.retrieve("demo").owned_by == "library"


def test_errors_are_the_ones_that_the_client_knows(openai_client: openai.OpenAI, plain: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        openai_client.chat.completions.create(**ASK | {"model": "nobody"})
    with pytest.raises(openai.BadRequestError) as wrong:
        openai_client.chat.completions.create(**ASK, temperature=3)
    with pytest.raises(openai.BadRequestError) as long:
        openai_client.chat.completions.create(**ASK | {"messages": LONG}, stream=True)
    with pytest.raises(openai.BadRequestError, match="does not support tools"):
        openai_client.chat.completions.create(**ASK | {"model": plain}, tools=[ADD])

    assert missing.value.code == "model_not_found"
    assert wrong.value.param == "temperature"
    assert long.value.code == "context_length_exceeded"
