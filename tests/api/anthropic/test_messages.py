"""POST /v1/messages over runners that do what they are told: whole answers, streams, errors and their statuses."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from paddock import errors
from paddock.api.anthropic import messages
from paddock.protocol import Done, Failed, PromptProgress, Text, Thinking
from tests.api.anthropic.conftest import ADD, CALL, QUESTION, Asking, body, events_in
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

THINKS = {"type": "adaptive"}


def ended(reason: str = "stop", tokens: int = 5, stop_string: str = "", cached: int = 0) -> Done:
    return Done(
        reason="length" if reason == "length" else "stop",
        prompt_eval_count=7,
        prompt_eval_duration_ns=1,
        eval_count=tokens,
        eval_duration_ns=1,
        cached_tokens=cached,
        stop_string=stop_string,
    )


async def test_an_answer_is_one_message_of_blocks(asking: Asking) -> None:
    status, message = await asking.ask(thinking=THINKS)

    assert status == 200
    assert re.fullmatch(r"msg_[0-9a-f]{24}", message.pop("id"))
    thinking, text = message.pop("content")
    assert thinking.pop("signature")
    assert (thinking, text) == ({"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Yes"})
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "smart",
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 7,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 5,
        },
    }


async def test_a_call_is_a_block_of_its_own(asking: Asking) -> None:
    asking.answers(Text(content="I add."), CALL, CALL, done())

    _, message = await asking.ask(tools=[ADD])

    text, *calls = message["content"]
    assert text == {"type": "text", "text": "I add."}
    assert calls == [{"type": "tool_use", "id": "toolu_call_1", "name": "add", "input": {"a": 1}}] * 2
    assert message["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("end", "reason", "sequence"),
    [
        (ended(), "end_turn", None),
        (ended("length", tokens=100), "max_tokens", None),
        (ended("length", tokens=60), "model_context_window_exceeded", None),
        (ended(stop_string="END"), "stop_sequence", "END"),
        (ended(stop_string="<|im_end|>"), "end_turn", None),
    ],
)
async def test_the_reason_says_why_an_answer_ended(
    asking: Asking, end: Done, reason: str, sequence: str | None
) -> None:
    asking.answers(Text(content="Yes"), end)

    _, message = await asking.ask(stop_sequences=["END", "STOP"])

    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)


async def test_tokens_read_from_the_cache_are_no_input_tokens(asking: Asking) -> None:
    asking.answers(Text(content="Yes"), ended(cached=4))

    _, message = await asking.ask()

    assert message["usage"]["input_tokens"] == 3
    assert message["usage"]["cache_read_input_tokens"] == 4


async def test_a_stream_is_exactly_anthropics(asking: Asking) -> None:
    asking.answers(
        PromptProgress(done=4, total=7),
        Thinking(content="H"),
        Thinking(content="m"),
        Text(content="Ye"),
        Text(content="s"),
        CALL,
        ended(cached=4),
    )

    events = await asking.events(thinking=THINKS, tools=[ADD])

    started = events[0][1]["message"]
    assert re.fullmatch(r"msg_[0-9a-f]{24}", started.pop("id"))
    signature = events[5][1]["delta"].pop("signature")
    usage = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "input_tokens": 3}
    message = {"type": "message", "role": "assistant", "model": "smart", "content": [], "stop_reason": None}
    call = {"type": "tool_use", "id": "toolu_call_1", "name": "add", "input": {}}
    data: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {**message, "stop_sequence": None, "usage": {**usage, "output_tokens": 0}},
        },
        {"type": "ping"},
        block_start(0, {"type": "thinking", "thinking": "", "signature": ""}),
        block_delta(0, {"type": "thinking_delta", "thinking": "H"}),
        block_delta(0, {"type": "thinking_delta", "thinking": "m"}),
        block_delta(0, {"type": "signature_delta"}),
        {"type": "content_block_stop", "index": 0},
        block_start(1, {"type": "text", "text": ""}),
        block_delta(1, {"type": "text_delta", "text": "Ye"}),
        block_delta(1, {"type": "text_delta", "text": "s"}),
        {"type": "content_block_stop", "index": 1},
        block_start(2, call),
        block_delta(2, {"type": "input_json_delta", "partial_json": '{"a":1}'}),
        {"type": "content_block_stop", "index": 2},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {**usage, "output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
    assert signature
    started.pop("type")
    data[0]["message"].pop("type")
    assert [event for _, event in events] == data
    assert [name for name, _ in events] == [event["type"] for event in data]
    assert asking.last.tells_prompt


def block_start(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def block_delta(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


async def test_an_answer_without_a_word_is_a_whole_stream_all_the_same(asking: Asking) -> None:
    asking.answers(ended(tokens=1))

    events = await asking.events()

    assert [name for name, _ in events] == ["message_start", "ping", "message_delta", "message_stop"]
    assert events[0][1]["message"]["usage"]["input_tokens"] == 7


async def test_thinking_that_is_to_be_left_out_comes_back_in_its_signature(asking: Asking) -> None:
    wish = {**THINKS, "display": "omitted"}

    _, message = await asking.ask(thinking=wish)
    events = await asking.events(thinking=wish)

    block = message["content"][0]
    deltas = [event["delta"] for name, event in events if name == "content_block_delta"]
    assert block["thinking"] == ""
    assert deltas[0] == {"type": "signature_delta", "signature": block["signature"]}
    turns = [*QUESTION, {"role": "assistant", "content": message["content"]}, *QUESTION]
    await asking.ask(messages=turns, thinking=wish)
    assert asking.last.messages[1].thinking == "Hm"


async def test_silence_within_a_stream_is_filled(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "PING_SECONDS", 0.02)
    silence = asyncio.Event()
    asking.answers(Text(content="Ye"), silence, Text(content="s"), done())

    url = f"{asking.served.url}/v1/messages"
    async with asking.served.session.post(url, json=body(stream=True)) as response:
        text = ""
        while text.count("event: ping") < 4:
            text += (await response.content.readany()).decode()
        silence.set()
        text += (await response.content.read()).decode()

    events = events_in(text)
    last = [name for name, _ in events][-4:]
    assert last == ["content_block_delta", "content_block_stop", "message_delta", "message_stop"]


async def test_silence_before_the_first_word_hides_no_status(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "PING_SECONDS", 0.01)
    gate = asyncio.Event()
    asking.answers(PromptProgress(done=0, total=7), gate, Failed(code="out_of_memory", message="Memory ran out."))

    asked = asyncio.create_task(asking.ask(stream=True))
    await until(lambda: asking.reached == 1)
    await asyncio.sleep(0.05)  # several silences long
    gate.set()
    status, answer = await asked

    assert status == 507
    assert answer["error"] == {"type": "api_error", "message": "Memory ran out."}


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "kind", "message"),
    [
        (errors.BadRequest("No."), 400, "invalid_request_error", "No."),
        (errors.ContextTooLong("9 tokens."), 400, "invalid_request_error", "Prompt is too long: 9 tokens."),
        (errors.Busy("Later."), 503, "overloaded_error", "Later."),
        (errors.PaddockError("Oh."), 500, "api_error", "Oh."),
    ],
)
async def test_an_error_before_the_first_word_has_its_status(
    asking: Asking, is_streamed: bool, error: errors.PaddockError, status: int, kind: str, message: str
) -> None:
    asking.answers(error)

    found, answer = await asking.ask(stream=is_streamed)

    assert found == status
    request_id = answer.pop("request_id")
    assert re.fullmatch(r"req_[0-9a-f]{24}", request_id)
    assert answer == {"type": "error", "error": {"type": kind, "message": message}}


async def test_a_late_error_is_the_last_event(asking: Asking) -> None:
    asking.answers(Text(content="Ye"), errors.RunnerDied("The runner ended: killed by signal 9."))

    events = await asking.events()

    name, data = events[-1]
    assert name == "error"
    assert data["type"] == "error"
    assert data["error"] == {"type": "api_error", "message": "The runner ended: killed by signal 9."}
    assert "message_stop" not in [name for name, _ in events]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_client_that_leaves_cancels_its_answer(asking: Asking, is_streamed: bool) -> None:
    asking.answers(Text(content="Ye"), asyncio.Event(), done())

    asked = asyncio.create_task(asking.ask(stream=is_streamed))
    await until(lambda: asking.reached == 1)
    asked.cancel()

    await until(lambda: "cancelled" in asking.served.servers.made[-1].calls)
    await until(lambda: asking.served.is_at_rest)


@pytest.mark.parametrize(
    ("path", "method", "status", "kind"),
    [
        ("/v1/messages", "GET", 405, "invalid_request_error"),
        ("/v1/messages/count_tokens", "GET", 405, "invalid_request_error"),
        ("/v1/messages/batches", "POST", 404, "not_found_error"),
    ],
)
async def test_what_is_not_there_is_told_in_anthropics_shape(
    asking: Asking, path: str, method: str, status: int, kind: str
) -> None:
    async with asking.served.session.request(method, asking.served.url + path) as response:
        answer = await response.json()

    assert response.status == status
    assert (answer["type"], answer["error"]["type"]) == ("error", kind)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_an_unknown_model_is_not_found(asking: Asking, path: str) -> None:
    status, answer = await asking.ask(path, model="claude-sonnet-4-5")

    assert status == 404
    assert answer["error"] == {"type": "not_found_error", "message": "model 'claude-sonnet-4-5' not found"}
