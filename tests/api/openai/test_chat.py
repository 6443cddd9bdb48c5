"""/v1/chat/completions over HTTP: what whole answers and streams look like, and how they end."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import openai
import pytest

from paddock.errors import RunnerDied
from paddock.protocol import Done, Text, Thinking, ToolCall
from tests.api.conftest import Served
from tests.api.openai.asking import CHAT, QUESTION, TOOL, asked, events, likely, refused
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

PATH = "/v1/chat/completions"
CALLS = (
    ToolCall(id="call_1", name="add", arguments={"b": 2, "a": "é"}),
    ToolCall(id="call_2", name="add", arguments={}),
)
USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 3,
    "total_tokens": 8,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}


def ended(reason: str = "stop") -> Done:
    return Done(
        reason="length" if reason == "length" else "stop",
        prompt_eval_count=5,
        prompt_eval_duration_ns=1,
        eval_count=3,
        eval_duration_ns=1,
        cached_tokens=2,
        thinking_tokens=1,
    )


def answers(served: Served, *frames: Any) -> None:
    served.script("smart:latest").answer = frames


# ---- whole ----


async def test_a_whole_answer(smart: Served) -> None:
    answers(smart, Text(content="Hello"), Text(content=" world"), ended())
    before = int(time.time())

    status, answer = await smart.post(PATH, CHAT)

    assert status == 200
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{24}", answer.pop("id"))
    assert before <= answer.pop("created") <= time.time()
    assert re.fullmatch(r"fp_[0-9a-f]{10}", answer.pop("system_fingerprint"))
    assert answer == {
        "object": "chat.completion",
        "model": "smart",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello world", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
        "service_tier": "default",
    }


async def test_two_answers_have_two_ids_and_one_fingerprint(smart: Served) -> None:
    _, first = await smart.post(PATH, CHAT)
    _, second = await smart.post(PATH, CHAT)

    assert first["id"] != second["id"]
    assert first["system_fingerprint"] == second["system_fingerprint"]


async def test_calls_and_thinking_have_their_places(smart: Served) -> None:
    answers(smart, Thinking(content="H"), Thinking(content="m"), *CALLS, ended())

    _, answer = await smart.post(PATH, CHAT | {"tools": [TOOL]})

    [choice] = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning": "Hm",
        "reasoning_content": "Hm",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"b":2,"a":"é"}'}},
            {"id": "call_2", "type": "function", "function": {"name": "add", "arguments": "{}"}},
        ],
    }


@pytest.mark.parametrize(
    ("frames", "reason"), [((CALLS[0],), "length"), ((Text(content="x"),), "length"), ((), "length")]
)
async def test_a_limit_is_told_before_anything_else(smart: Served, frames: tuple[Any, ...], reason: str) -> None:
    answers(smart, *frames, ended("length"))

    _, answer = await smart.post(PATH, CHAT)

    assert answer["choices"][0]["finish_reason"] == reason


async def test_an_answer_of_nothing_is_an_empty_text(smart: Served) -> None:
    answers(smart, ended())

    _, answer = await smart.post(PATH, CHAT)

    assert answer["choices"][0]["message"]["content"] == ""


async def test_functions_of_former_times_are_called_as_they_were(smart: Served) -> None:
    answers(smart, CALLS[0], ended())
    body = CHAT | {"functions": [TOOL["function"]]}

    _, answer = await smart.post(PATH, body)
    chunks = (await events(smart, PATH, body))[:-1]

    called = {"name": "add", "arguments": '{"b":2,"a":"é"}'}
    assert answer["choices"][0]["finish_reason"] == "function_call"
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "function_call": called,
    }
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "function_call": called}
    assert chunks[1]["choices"][0]["finish_reason"] == "function_call"


async def test_logprobs_tell_of_the_answer_and_not_of_the_thinking(smart: Served) -> None:
    answers(
        smart,
        Thinking(content="Hm", logprobs=(likely("Hm"),)),
        Text(content="Yes", logprobs=(likely("Ye", -0.5, No=-1.0), likely("s", -0.25))),
        ended(),
    )
    body = CHAT | {"logprobs": True, "top_logprobs": 1}

    _, answer = await smart.post(PATH, body)
    chunks = (await events(smart, PATH, body))[:-1]

    expected = {
        "content": [
            {
                "token": "Ye",
                "logprob": -0.5,
                "bytes": [89, 101],
                "top_logprobs": [{"token": "No", "logprob": -1.0, "bytes": [78, 111]}],
            },
            {"token": "s", "logprob": -0.25, "bytes": [115], "top_logprobs": []},
        ],
        "refusal": None,
    }
    assert answer["choices"][0]["logprobs"] == expected
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert told == [{"content": [], "refusal": None}, expected, None]


# ---- streams ----


async def test_a_stream(smart: Served) -> None:
    answers(smart, Thinking(content="Hm"), Text(content="Hello"), Text(content=" world"), *CALLS, ended())

    *chunks, last = await events(smart, PATH, CHAT | {"tools": [TOOL]})

    assert last == "[DONE]"
    assert len({(chunk["id"], chunk["created"], chunk["system_fingerprint"]) for chunk in chunks}) == 1
    assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {("chat.completion.chunk", "smart")}
    assert not any("usage" in chunk for chunk in chunks)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "reasoning": "Hm", "reasoning_content": "Hm"},
        {"content": "Hello"},
        {"content": " world"},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"b":2,"a":"é"}'},
                }
            ]
        },
        {
            "tool_calls": [
                {"index": 1, "id": "call_2", "type": "function", "function": {"name": "add", "arguments": "{}"}}
            ]
        },
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None] * 5 + ["tool_calls"]
    assert {choice["index"] for choice in choices} == {0}


async def test_a_stream_ends_in_its_usage_if_that_is_asked_for(smart: Served) -> None:
    answers(smart, Text(content="Hello"), ended())

    *chunks, usage, last = await events(smart, PATH, CHAT | {"stream_options": {"include_usage": True}})

    assert last == "[DONE]"
    assert [chunk["usage"] for chunk in chunks] == [None, None]
    assert (usage["choices"], usage["usage"]) == ([], USAGE)


async def test_a_stream_of_nothing_still_has_a_message(smart: Served) -> None:
    answers(smart, ended())

    *chunks, _ = await events(smart, PATH, CHAT)

    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [{"role": "assistant", "content": ""}, {}]


# ---- several answers ----


async def test_several_answers_are_made_at_once_and_counted_together(smart: Served) -> None:
    answers(smart, Text(content="Hello"), ended())

    _, answer = await smart.post(PATH, CHAT | {"n": 3, "seed": 7})

    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in answer["choices"]} == {"Hello"}
    assert sorted(request.sampling.seed for request in smart.servers.made[-1].requests) == [7, 8, 9]
    assert answer["usage"] == USAGE | {
        "completion_tokens": 9,
        "total_tokens": 14,
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


async def test_several_answers_without_a_seed_each_draw_their_own(smart: Served) -> None:
    await smart.post(PATH, CHAT | {"n": 2})

    assert [request.sampling.seed for request in smart.servers.made[-1].requests] == [-1, -1]


async def test_chunks_of_several_answers_carry_their_index(smart: Served) -> None:
    answers(smart, Text(content="Hello"), CALLS[0], ended())

    *chunks, _ = await events(smart, PATH, CHAT | {"n": 2, "stream_options": {"include_usage": True}})

    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    for index in (0, 1):
        own = [choice for choice in choices if choice["index"] == index]
        assert [list(choice["delta"]) for choice in own] == [["role", "content"], ["tool_calls"], []]
        assert own[1]["delta"]["tool_calls"][0]["index"] == 0
        assert own[-1]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize("n", [0, 9])
async def test_more_answers_than_there_may_be_are_refused(smart: Served, n: int) -> None:
    assert (await refused(smart, PATH, CHAT | {"n": n}))["param"] == "n"


async def test_one_answer_that_fails_ends_them_all(smart: Served) -> None:
    answers(smart, Text(content="Hello"), asyncio.Event())

    async def ask() -> list[Any]:
        return await events(smart, PATH, CHAT | {"n": 3})

    asking = asyncio.create_task(ask())
    await until(lambda: smart.servers.made and smart.servers.made[-1].active)
    smart.servers.made[-1].die()

    *_, last = await asking
    assert "ended" in last["error"]["message"]
    await until(lambda: smart.is_at_rest)


# ---- errors and cancellation ----


async def test_an_early_error_has_its_status_also_in_a_stream(smart: Served) -> None:
    status, answer = await smart.post(PATH, CHAT | {"stream": True, "temperature": 3})

    assert status == 400
    assert answer == {
        "error": {
            "message": '"temperature" must be between 0 and 2.',
            "type": "invalid_request_error",
            "param": "temperature",
            "code": None,
        }
    }


async def test_a_field_of_the_wrong_type_is_named(smart: Served) -> None:
    error = await refused(smart, PATH, CHAT | {"messages": [{"role": "user", "content": 5}]})

    assert error["param"] == "messages[0].content"
    assert error["message"] == '"messages[0].content" must be of type str or array, not int.'


async def test_a_model_that_is_not_there(smart: Served) -> None:
    status, answer = await smart.post(PATH, CHAT | {"model": "nobody"})

    assert status == 404
    assert answer["error"] == {
        "message": "model 'nobody' not found",
        "type": "not_found_error",
        "param": None,
        "code": "model_not_found",
    }


async def test_a_late_error_ends_the_stream_without_done(smart: Served) -> None:
    answers(smart, Text(content="Hello"), RunnerDied("The runner of 'smart' ended."))

    first, last = await events(smart, PATH, CHAT)

    assert first["choices"][0]["delta"]["content"] == "Hello"
    assert last == {
        "error": {"message": "The runner of 'smart' ended.", "type": "api_error", "param": None, "code": None}
    }


async def test_a_late_error_raises_in_the_published_client(smart: Served) -> None:
    answers(smart, Text(content="Hello"), RunnerDied("The runner of 'smart' ended."))

    async with openai.AsyncOpenAI(base_url=f"{smart.url}/v1", api_key="none", max_retries=0) as client:
        chunks = aiter(await client.chat.completions.create(model="smart", messages=QUESTION, stream=True))
        first = await anext(chunks)
        with pytest.raises(openai.APIError, match="The runner of 'smart' ended"):
            await anext(chunks)

    assert first.choices[0].delta.content == "Hello"


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_cancels_all_its_answers(smart: Served, n: int, stream: bool) -> None:
    answers(smart, Text(content="Hello"), asyncio.Event(), done())

    asking = asyncio.create_task(smart.post(PATH, CHAT | {"n": n, "stream": stream}))
    await until(lambda: smart.servers.made and smart.servers.made[-1].active)
    asking.cancel()

    await until(lambda: smart.servers.made[-1].active == 0)
    await until(lambda: smart.is_at_rest)
    assert "cancelled" in smart.servers.made[-1].calls


async def test_runner_options_and_keep_alive_are_honoured(smart: Served) -> None:
    await smart.post(PATH, CHAT | {"options": {"num_ctx": 512}, "keep_alive": 0})

    assert smart.servers.made[-1].spec.options.num_ctx == 512
    assert asked(smart).messages[0].content == "Hi"
    await until(lambda: "close" in smart.servers.made[-1].calls)
