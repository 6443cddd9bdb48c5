"""Whatever the pieces of an answer are, the events of its stream nest, count up and say the same as the response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.api.chunks import Piece
from paddock.api.openai.responses.answers import Failure, ResponseAnswer, ToldFormat, ToldReasoning, ToldText
from paddock.api.openai.responses.telling import Stage, Telling
from paddock.api.openai.responses.thoughts import unsealed
from paddock.protocol import Likelihood, TokenLogprobs, ToolCall
from tests.fakes.fake_server import done

CALL = ToolCall(id="call_1", name="add", arguments={"b": 2, "a": "é"})
TOKEN = TokenLogprobs(
    token="Hi", logprob=-0.5, bytes=(72, 105), top=(Likelihood(token="Yo", logprob=-1.0, bytes=(89,)),)
)

thoughts = st.builds(Piece, thinking=st.text(min_size=1, max_size=3))
texts = st.builds(Piece, text=st.text(max_size=3), logprobs=st.sampled_from([(), (TOKEN,)]))
calls = st.just(Piece(calls=(CALL,)))
answers = st.lists(st.one_of(thoughts, texts, calls), max_size=8)


def a_response() -> ResponseAnswer:
    return ResponseAnswer(
        id="resp_1",
        created_at=1,
        model="tiny",
        instructions=None,
        max_output_tokens=None,
        max_tool_calls=None,
        metadata={},
        parallel_tool_calls=True,
        previous_response_id=None,
        prompt_cache_key=None,
        reasoning=ToldReasoning(effort=None, summary=None),
        safety_identifier=None,
        store=True,
        temperature=0.8,
        text=ToldText(format=ToldFormat(type="text")),
        tool_choice="auto",
        tools=(),
        top_logprobs=0,
        top_p=0.9,
        truncation="disabled",
        user=None,
    )


def a_telling(**fields: bool) -> Telling:
    numbers = count()
    return Telling(a_response(), lambda prefix: f"{prefix}{next(numbers)}", **fields)


def told(telling: Telling, pieces: Sequence[Piece], reason: str = "stop") -> list[dict[str, Any]]:
    """All events of an answer, as clients read them."""
    events = [event for piece in pieces for event in telling.add(piece)]
    events += telling.end(done(eval_count=9, prompt_eval_count=4, thinking_tokens=2, reason=reason), 7)
    return [read(event) for event in events]


def read(value: object) -> Any:
    """As clients read it."""
    return json.loads(msgspec.json.encode(value))


def types(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def check_item(events: Sequence[dict[str, Any]], place: int) -> None:
    """The events between an item's beginning and its end, both included."""
    added, *within, ended = events
    name = ended["item"]["id"]
    assert added["item"]["id"] == name
    assert added["item"]["type"] == ended["item"]["type"]
    assert added["item"]["status"] == "in_progress"
    assert {event["output_index"] for event in events} == {place}
    assert {event["item_id"] for event in within} == {name}
    deltas = [event for event in within if event["type"].endswith(".delta")]
    whole = "".join(event["delta"] for event in deltas)
    if ended["item"]["type"] == "function_call":
        assert types(within) == ["function_call_arguments.delta", "function_call_arguments.done"]
        assert added["item"]["arguments"] == ""
        assert whole == within[1]["arguments"] == ended["item"]["arguments"]
        return
    first, *_, text_done, part_done = within
    assert first["type"].endswith("part.added")
    assert part_done["type"] == first["type"].replace("added", "done")
    assert text_done["type"].rpartition(".")[0] in {event["type"].rpartition(".")[0] for event in deltas} or not deltas
    assert len(within) == len(deltas) + 3
    [part] = ended["item"]["content"] or ended["item"]["summary"]
    assert whole == text_done["text"] == part_done["part"]["text"] == part["text"]
    assert part_done["part"] == part
    assert first["part"] == part | {"text": ""} | ({"logprobs": []} if "logprobs" in part else {})
    assert [token for delta in deltas for token in delta.get("logprobs", ())] == list(part.get("logprobs", ()))


def check_stream(events: Sequence[dict[str, Any]], response: dict[str, Any]) -> None:
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert types(events[:2]) == ["created", "in_progress"]
    assert all(event["response"]["output"] == [] for event in events[:2])
    starts = [number for number, event in enumerate(events) if event["type"] == "response.output_item.added"]
    ends = [number for number, event in enumerate(events) if event["type"] == "response.output_item.done"]
    assert len(starts) == len(ends)
    assert starts == [2, *(end + 1 for end in ends[:-1])][: len(starts)], "items follow one another"
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        check_item(events[start : end + 1], place)
    assert [events[end]["item"] for end in ends] == list(response["output"])
    assert events[-1]["response"] == response


@settings(deadline=None)
@given(pieces=answers, summarises=st.booleans(), encrypts=st.booleans(), reason=st.sampled_from(["stop", "length"]))
def test_any_answer_makes_a_sound_stream(pieces: list[Piece], summarises: bool, encrypts: bool, reason: str) -> None:
    telling = a_telling(summarises=summarises, encrypts=encrypts)
    events = told(telling, pieces, reason)
    response = read(telling.response)

    check_stream(events, response)
    output = response["output"]
    said = [part["text"] for item in output if item["type"] == "message" for part in item["content"]]
    thought = [
        part["text"] for item in output if item["type"] == "reasoning" for part in item["content"] or item["summary"]
    ]
    assert "".join(said) == "".join(piece.text for piece in pieces)
    assert "".join(thought) == "".join(piece.thinking for piece in pieces)
    assert sum(item["type"] == "function_call" for item in output) == sum(len(piece.calls) for piece in pieces)
    assert output
    assert types(events)[-1] == ("completed" if reason == "stop" else "incomplete")


@settings(deadline=None)
@given(pieces=answers)
def test_an_error_ends_what_is_open_and_is_told_last(pieces: list[Piece]) -> None:
    telling = a_telling()
    events = [event for piece in pieces for event in telling.add(piece)]
    events += telling.fail(Failure(code="server_error", message="It broke."))

    *before, error, _ = all_events = [read(event) for event in events]
    check_stream([*before, all_events[-1] | {"sequence_number": len(before)}], read(telling.response))
    assert (error["type"], error["code"], error["message"]) == ("error", "server_error", "It broke.")
    assert error["sequence_number"] == len(before)
    assert telling.response.status == "failed"
    assert telling.fail(Failure(code="server_error", message="Again.")) == []


def test_thinking_then_text_then_calls_are_items_of_their_own() -> None:
    telling = a_telling()
    pieces = [Piece(thinking="H"), Piece(thinking="m"), Piece(text="Yes"), Piece(calls=(CALL,)), Piece(text="no")]

    events = types(told(telling, pieces))

    assert events == [
        *("created", "in_progress"),
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        "completed",
    ]
    assert [item["type"] for item in read(telling.response.output)] == [
        *("reasoning", "message", "function_call", "message")
    ]
    assert [item.id for item in telling.response.output] == ["rs_0", "msg_1", "fc_2", "msg_3"]


def test_thinking_may_be_told_as_its_summary_and_in_coded_form() -> None:
    telling = a_telling(summarises=True, encrypts=True)

    events = types(told(telling, [Piece(thinking="H"), Piece(text="Yes")]))

    assert events[2:7] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]
    item = read(telling.response.output[0])
    assert item["summary"] == [{"type": "summary_text", "text": "H"}]
    assert item["content"] == []
    assert unsealed(item["encrypted_content"]) == "H"


def test_a_call_has_its_arguments_in_their_order() -> None:
    telling = a_telling()
    told(telling, [Piece(calls=(CALL,))])

    [call] = telling.response.output
    assert (call.call_id, call.name, call.arguments) == ("call_1", "add", '{"b":2,"a":"é"}')  # type: ignore[union-attr]


def test_an_answer_of_nothing_is_an_empty_message() -> None:
    telling = a_telling()
    told(telling, [])

    [item] = read(telling.response)["output"]
    assert item["content"] == [{"type": "output_text", "text": "", "annotations": [], "logprobs": []}]


def test_a_cut_answer_says_so_in_its_last_item_and_has_no_time_of_completion() -> None:
    telling = a_telling()
    told(telling, [Piece(thinking="H"), Piece(text="Ye")], "length")

    response = telling.response
    assert [item.status for item in response.output] == ["completed", "incomplete"]
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.completed_at is None


def test_tokens_are_counted() -> None:
    telling = a_telling()
    told(telling, [Piece(thinking="H"), Piece(thinking="m"), Piece(text="Yes")])

    assert read(telling.response.usage) == {
        "input_tokens": 4,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 13,
    }
    assert telling.response.completed_at == 7


def test_likelihoods_come_with_the_text_that_they_are_of() -> None:
    telling = a_telling()
    events = told(telling, [Piece(text="Hi", logprobs=(TOKEN,)), Piece(logprobs=(TOKEN,)), Piece(calls=(CALL,))])

    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert [len(delta["logprobs"]) for delta in deltas] == [1, 1]
    assert deltas[0]["logprobs"][0] == {
        "token": "Hi",
        "bytes": [72, 105],
        "logprob": -0.5,
        "top_logprobs": [{"token": "Yo", "bytes": [89], "logprob": -1.0}],
    }


def test_an_ended_response_says_nothing_more() -> None:
    telling = a_telling()
    told(telling, [])

    assert telling.stage is Stage.ENDED
    with pytest.raises(AssertionError, match="does not lead to"):
        telling.end(done(), 8)
