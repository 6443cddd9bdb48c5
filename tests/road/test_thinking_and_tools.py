"""The published `ollama` client, unmodified, with thinking, tools, formats and logprobs, on a real model.

The demo model neither thinks nor calls tools; with a template that speaks of both, all of the road but its own words is
as it would be.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest

from tests.road.conftest import Road

TEMPLATE = (Path(__file__).parents[2] / "training" / "chat_template.jinja").read_text()
QUESTION = [{"role": "user", "content": "Tell me a story about a red fox"}]
GREEDY = {"temperature": 0, "num_predict": 24}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@pytest.fixture(scope="module")
def thinker(road: Road) -> Iterator[str]:
    road.client.create("thinker", from_="demo", template=TEMPLATE)
    yield "thinker"
    road.client.delete("thinker")


def test_a_schema_is_obeyed(road: Road) -> None:
    options = {"seed": 1, "num_predict": 100}

    chat = road.client.chat("demo", QUESTION, format=SCHEMA, options=options)
    generated = road.client.generate("demo", "Tell me a story", format=SCHEMA, options=options)

    for text in (chat.message.content, generated.response):
        found = json.loads(text)
        assert isinstance(found["name"], str)
        assert isinstance(found["age"], int)


def test_any_object_will_do(road: Road) -> None:
    answer = road.client.generate("demo", "Hello", format="json", options={"seed": 2, "num_predict": 60})

    assert isinstance(json.loads(answer.response), dict)


def test_logprobs_tell_of_every_token(road: Road) -> None:
    answer = road.client.generate("demo", "Hello", logprobs=True, top_logprobs=3, options=GREEDY)
    chunks = list(road.client.chat("demo", QUESTION, logprobs=True, options=GREEDY, stream=True))

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


def test_the_demo_refuses_what_it_cannot_do(road: Road) -> None:
    for fields, sentence in (
        ({"think": True}, "does not support thinking"),
        ({"tools": [{"type": "function", "function": {"name": "add"}}]}, "does not support tools"),
    ):
        with pytest.raises(ollama.ResponseError, match=sentence):
            road.client.chat("demo", QUESTION, **fields)
    with pytest.raises(ollama.ResponseError, match="does not support insert"):
        road.client.generate("demo", "a", suffix="b")


def test_a_template_makes_a_model_that_thinks_and_calls_tools(road: Road, thinker: str) -> None:
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    assert road.client.show(thinker).capabilities == ["completion", "tools", "thinking"]
    asked = road.client.chat(thinker, QUESTION, options=GREEDY).prompt_eval_count
    offered = road.client.chat(thinker, QUESTION, tools=[add], options=GREEDY)
    call = {"function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    turns = [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "3"}]
    answered = road.client.chat(thinker, [*QUESTION, *turns], tools=[add], options=GREEDY)

    assert asked < offered.prompt_eval_count < answered.prompt_eval_count


def test_before_a_schema_a_model_thinks_unless_it_is_told_not_to(road: Road, thinker: str) -> None:
    thoughtful = road.client.chat(thinker, QUESTION, format=SCHEMA, options=GREEDY)
    at_once = road.client.chat(thinker, QUESTION, format=SCHEMA, think=False, options={"num_predict": 100})

    assert thoughtful.message.thinking
    assert thoughtful.message.content == ""
    assert thoughtful.eval_count == 24
    assert not at_once.message.thinking
    assert set(json.loads(at_once.message.content)) == {"name", "age"}
