"""The published `ollama` client, unmodified, with thinking, tools, formats and logprobs, on a real model.

The demo model thinks and calls tools, so all of the road is as it would be with a larger one.
"""

from __future__ import annotations

import json
import math

import ollama
import pytest

from tests.road.conftest import Road

QUESTION = [{"role": "user", "content": "Tell me a story about a red fox"}]
GREEDY = {"temperature": 0, "num_predict": 24}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


def test_a_schema_is_obeyed(road: Road) -> None:
    options = {"seed": 1, "num_predict": 100}

    chat = road.client.chat("demo", QUESTION, think=False, format=SCHEMA, options=options)
    generated = road.client.generate("demo", "Tell me a story", think=False, format=SCHEMA, options=options)

    for text in (chat.message.content, generated.response):
        found = json.loads(text)
        assert isinstance(found["name"], str)
        assert isinstance(found["age"], int)


def test_any_object_will_do(road: Road) -> None:
    answer = road.client.generate("demo", "Hello", think=False, format="json", options={"seed": 2, "num_predict": 60})

    assert isinstance(json.loads(answer.response), dict)


def test_logprobs_tell_of_every_token(road: Road) -> None:
    answer = road.client.generate("demo", "Hello", think=False, logprobs=True, top_logprobs=3, options=GREEDY)
    chunks = list(road.client.chat("demo", QUESTION, think=False, logprobs=True, options=GREEDY, stream=True))

    assert answer.logprobs is not None
    assert "".join(token.token for token in answer.logprobs) == answer.response
    for token in answer.logprobs:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token  # greedy
        assert math.isclose(token.top_logprobs[0].logprob, token.logprob, abs_tol=1e-5)
    told = [token for chunk in chunks for token in chunk.logprobs or ()]
    assert len(told) == chunks[-1].eval_count
    assert "".join(token.token for token in told) == "".join(chunk.message.content for chunk in chunks)


def test_a_model_refuses_what_it_cannot_do(road: Road, plain: str) -> None:
    assert road.client.show(plain).capabilities == ["completion"]
    for fields, sentence in (
        ({"think": True}, "does not support thinking"),
        ({"tools": [{"type": "function", "function": {"name": "add"}}]}, "does not support tools"),
    ):
        with pytest.raises(ollama.ResponseError, match=sentence):
            road.client.chat(plain, QUESTION, **fields)
    with pytest.raises(ollama.ResponseError, match="does not support insert"):
        road.client.generate(plain, "a", suffix="b")


@pytest.mark.parametrize("think", [False, True])
def test_a_tool_is_called_and_its_result_is_told(road: Road, think: bool) -> None:
    def get_weather(city: str) -> str:
        """Get the weather of a city.

        Args:
            city: The city.
        """
        return f"sunny in {city}"

    wish = {"think": think, "tools": [get_weather], "options": {"temperature": 0}}
    turns: list[object] = [{"role": "user", "content": "What is the weather in Paris?"}]

    asked = road.client.chat("demo", turns, **wish).message
    [call] = asked.tool_calls or ()
    turns += [asked, {"role": "tool", "tool_name": call.function.name, "content": "18 degrees and sunny"}]
    told = road.client.chat("demo", turns, **wish).message

    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})
    assert "18 degrees and sunny" in told.content
    assert not told.tool_calls
    assert [bool(message.thinking) for message in (asked, told)] == [think, think]


def test_where_nothing_is_said_of_thinking_the_model_thinks(road: Road) -> None:
    whole = road.client.chat("demo", QUESTION, options={"temperature": 0})
    chunks = list(road.client.chat("demo", QUESTION, think=True, options={"temperature": 0}, stream=True))
    at_once = road.client.chat("demo", QUESTION, think=False, options={"temperature": 0})

    assert whole.message.thinking == "".join(chunk.message.thinking or "" for chunk in chunks)
    assert whole.message.content == "".join(chunk.message.content or "" for chunk in chunks)
    assert whole.message.thinking
    for message in (whole.message, at_once.message):
        assert "fox" in message.content
        assert "think>" not in message.content
    assert not at_once.message.thinking


def test_before_a_schema_a_model_thinks_unless_it_is_told_not_to(road: Road) -> None:
    thoughtful = road.client.chat("demo", QUESTION, format=SCHEMA, options={"temperature": 0})
    at_once = road.client.chat("demo", QUESTION, format=SCHEMA, think=False, options={"temperature": 0})

    assert thoughtful.message.thinking
    assert not at_once.message.thinking
    for message in (thoughtful.message, at_once.message):
        assert set(json.loads(message.content)) == {"name", "age"}
