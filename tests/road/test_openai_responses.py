"""The published `openai` client, unmodified, on /v1/responses of a real server with the model that ships with it."""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic
import pytest

ASK: dict[str, Any] = {
    "model": "demo",
    "input": "Tell me a story about a red fox",
    "temperature": 0,
    "max_output_tokens": 24,
    "reasoning": {"effort": "none"},
}
CALLED: dict[str, Any] = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a":1,"b":2}'}
OUTPUT: dict[str, Any] = {"type": "function_call_output", "call_id": "c1", "output": "3"}


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=8)
    age: int


class Add(pydantic.BaseModel):
    """Add two numbers."""

    a: int
    b: int


def test_an_answer_is_the_same_whole_streamed_and_asked_for_again(openai_client: openai.OpenAI) -> None:
    whole = openai_client.responses.create(**ASK)
    with openai_client.responses.stream(**ASK) as stream:
        events = list(stream)
        streamed = [event for event in events if event.type == "response.output_text.delta"]
        last = events[-1]

    assert whole.status == "incomplete"
    assert whole.output_text
    assert "".join(event.delta for event in streamed) == whole.output_text
    assert last.type == "response.incomplete"
    assert last.response.output_text == whole.output_text
    assert whole.usage is not None
    assert whole.usage.output_tokens == 24
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert openai_client.responses.retrieve(whole.id).to_dict() == whole.to_dict()


def test_a_story_that_ends_has_a_final_response(openai_client: openai.OpenAI) -> None:
    with openai_client.responses.stream(**ASK | {"max_output_tokens": 600}) as stream:
        final = stream.get_final_response()

    assert final.status == "completed"
    assert final.usage is not None
    assert 0 < final.usage.output_tokens < 600
    assert final.completed_at is not None


def test_a_chain_goes_on_from_what_was_said(openai_client: openai.OpenAI) -> None:
    first = openai_client.responses.create(**ASK, instructions="You tell stories.")
    second = openai_client.responses.create(**ASK | {"input": "Go on."}, previous_response_id=first.id)
    third = openai_client.responses.create(**ASK | {"input": "Go on."}, previous_response_id=second.id)
    by_hand = openai_client.responses.create(
        **ASK
        | {
            "input": [
                {"role": "user", "content": ASK["input"]},
                *(item.to_dict(mode="json") for item in first.output),
                {"role": "user", "content": "Go on."},
            ]
        }
    )

    assert by_hand.output_text == second.output_text
    sizes = [response.usage.input_tokens for response in (second, third) if response.usage]
    assert sizes[0] < sizes[1]
    assert third.usage is not None
    assert third.usage.input_tokens_details.cached_tokens > 0
    assert [item.type for item in openai_client.responses.input_items.list(third.id, order="asc")] == ["message"] * 5


def test_structured_text_is_parsed(openai_client: openai.OpenAI) -> None:
    response = openai_client.responses.parse(**ASK | {"temperature": 1, "max_output_tokens": 100}, text_format=Person)

    assert isinstance(response.output_parsed, Person)
    with openai_client.responses.stream(**ASK | {"max_output_tokens": 100}, text_format=Person) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Person)


def test_a_demanded_call_has_arguments_of_the_tools_own_form(openai_client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(Add, name="add")["function"]
    offered: Any = [{"type": "function", **tool}]
    ask = ASK | {"max_output_tokens": 200}

    response = openai_client.responses.create(**ask, tools=offered, tool_choice="required", parallel_tool_calls=False)
    with openai_client.responses.stream(
        **ask, tools=offered, tool_choice={"type": "function", "name": "add"}
    ) as stream:
        events = list(stream)

    [call] = [item for item in response.output if item.type == "function_call"]
    assert call.name == "add"
    assert isinstance(Add(**json.loads(call.arguments)), Add)
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    assert isinstance(Add(**json.loads(done.arguments)), Add)


def test_calls_and_their_outputs_are_shown_to_the_model(openai_client: openai.OpenAI) -> None:
    question = {"role": "user", "content": "1 + 2?"}

    asked = openai_client.responses.create(**ASK | {"input": [question]})
    answered = openai_client.responses.create(**ASK | {"input": [question, CALLED, OUTPUT]})

    assert asked.usage is not None
    assert answered.usage is not None
    assert asked.usage.input_tokens < answered.usage.input_tokens


def test_a_prompt_is_counted_as_it_is_read(openai_client: openai.OpenAI) -> None:
    answered = openai_client.responses.create(**ASK, instructions="You tell stories.")
    counted = openai_client.responses.input_tokens.count(
        model="demo", input=ASK["input"], instructions="You tell stories.", reasoning=ASK["reasoning"]
    )

    assert answered.usage is not None
    assert counted.input_tokens == answered.usage.input_tokens


def test_likelihoods_are_told(openai_client: openai.OpenAI) -> None:
    response = openai_client.responses.create(**ASK, include=["message.output_text.logprobs"], top_logprobs=2)

    [message] = response.output
    assert message.type == "message"
    [part] = message.content
    assert part.type == "output_text"
    assert "".join(token.token for token in part.logprobs or ()) == part.text
    assert all(len(token.top_logprobs) == 2 for token in part.logprobs or ())


def test_errors_are_those_that_the_client_knows(openai_client: openai.OpenAI, plain: str) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        openai_client.responses.create(model="nobody", input="Hi")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as gone:
        openai_client.responses.create(**ASK, previous_response_id="resp_nobody")
    assert gone.value.code == "previous_response_not_found"
    with pytest.raises(openai.BadRequestError, match="web_search"):
        openai_client.responses.create(**ASK, tools=[{"type": "web_search"}])
    with pytest.raises(openai.BadRequestError, match="does not support thinking"):
        openai_client.responses.create(**ASK | {"model": plain, "reasoning": {"effort": "high"}})
    with pytest.raises(openai.BadRequestError) as long:
        openai_client.responses.create(**ASK | {"input": "fox " * 20_000})
    assert long.value.code == "context_length_exceeded"

    kept = openai_client.responses.create(**ASK)
    openai_client.responses.delete(kept.id)
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.retrieve(kept.id)


def test_what_is_too_long_is_cut_where_that_is_asked_for(openai_client: openai.OpenAI) -> None:
    turns = [{"role": "user", "content": "fox " * 1_000}, {"role": "assistant", "content": "Yes."}] * 4
    ask = ASK | {"input": [*turns, {"role": "user", "content": "Go on."}]}

    with pytest.raises(openai.BadRequestError):
        openai_client.responses.create(**ask)
    assert openai_client.responses.create(**ask, truncation="auto").output_text
