"""Pieces of an answer become events: blocks do not overlap, indices count up, deltas make the whole."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.api.anthropic.answers import Asked, Usage, message_of
from paddock.api.anthropic.events import Event, Events, name_of
from paddock.api.chunks import Piece
from paddock.protocol import Done, ToolCall

PROMPT = Usage(input_tokens=3, cache_read_input_tokens=4, output_tokens=0)
DONE = Done(
    reason="stop", prompt_eval_count=7, prompt_eval_duration_ns=1, eval_count=5, eval_duration_ns=1, cached_tokens=4
)

words = st.text(max_size=5)
calls = st.builds(
    ToolCall,
    id=st.sampled_from(["call_1", "functions.add:0", "abc123XYZ", ""]),
    name=st.just("add"),
    arguments=st.dictionaries(words, st.integers() | words, max_size=2),
)
pieces = st.lists(
    st.builds(Piece, text=words)
    | st.builds(Piece, thinking=words)
    | st.builds(Piece, calls=st.lists(calls, max_size=2).map(tuple)),
    max_size=12,
)
wishes = st.builds(Asked, model=st.just("m"), max_tokens=st.just(9), omits_thinking=st.booleans())


def streamed(found: list[Piece], asked: Asked) -> list[dict[str, Any]]:
    events = Events(asked)
    made: list[Event] = [event for piece in found for event in events.add(piece, PROMPT)]
    made += events.finish(DONE)
    data = [msgspec.json.decode(msgspec.json.encode(event)) for event in made]
    assert [name_of(event) for event in made] == [event["type"] for event in data]
    return data


def put_together(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks of a stream, as a client puts them together; it asserts that they nest."""
    blocks: list[dict[str, Any]] = []
    open_index: int | None = None
    for event in events:
        if event["type"] == "content_block_start":
            assert open_index is None
            open_index = event["index"]
            assert open_index == len(blocks)
            blocks.append({**event["content_block"]})
        elif event["type"] == "content_block_delta":
            assert event["index"] == open_index
            add(blocks[-1], event["delta"])
        elif event["type"] == "content_block_stop":
            assert event["index"] == open_index
            open_index = None
    assert open_index is None
    return blocks


def add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if delta["type"] == "input_json_delta":
        assert block["input"] == {}
        block["input"] = msgspec.json.decode(delta["partial_json"])
        return
    [name] = delta.keys() - {"type"}
    block[name] += delta[name]


@settings(deadline=None)
@given(pieces, wishes)
def test_a_stream_makes_the_same_message_as_a_whole_answer(found: list[Piece], asked: Asked) -> None:
    whole = msgspec.to_builtins(message_of(found, DONE, asked))
    events = streamed(found, asked)

    blocks = put_together(events)
    for block in (*blocks, *whole["content"]):
        if block["type"] == "tool_use":
            assert block["id"].startswith("toolu_")
            block["id"] = ""  # made anew where a model's own is no name
    assert blocks == list(whole["content"])
    assert [event["type"] for event in events[:2]] == ["message_start", "ping"]
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    assert [event["type"] for event in events].count("message_start") == 1
    assert events[-2]["delta"]["stop_reason"] == whole["stop_reason"]
    assert events[-2]["usage"] == whole["usage"]


@settings(deadline=None)
@given(pieces, wishes)
def test_every_word_is_told_and_every_block_of_thinking_signed(found: list[Piece], asked: Asked) -> None:
    blocks = put_together(streamed(found, asked))

    assert "".join(block["text"] for block in blocks if block["type"] == "text") == "".join(p.text for p in found)
    thought = [block for block in blocks if block["type"] == "thinking"]
    told = "".join(block["thinking"] for block in thought)
    assert told == ("" if asked.omits_thinking else "".join(piece.thinking for piece in found))
    assert all(block["signature"] for block in thought)
    kinds = [block["type"] for block in blocks]
    assert not any(one == other != "tool_use" for one, other in pairwise(kinds))


def test_thinking_after_a_text_opens_a_block_of_its_own() -> None:
    found = [Piece(thinking="a"), Piece(text="b"), Piece(thinking="c"), Piece(text="d")]

    blocks = put_together(streamed(found, Asked(model="m", max_tokens=9)))

    assert [block["type"] for block in blocks] == ["thinking", "text", "thinking", "text"]


def test_two_calls_in_a_row_are_two_blocks() -> None:
    call = ToolCall(id="1", name="add", arguments={})

    blocks = put_together(streamed([Piece(calls=(call,)), Piece(calls=(call,))], Asked(model="m", max_tokens=9)))

    assert [block["type"] for block in blocks] == ["tool_use", "tool_use"]


def test_a_piece_that_says_nothing_begins_nothing() -> None:
    events = Events(Asked(model="m", max_tokens=9))

    assert events.add(Piece(), PROMPT) == []
    assert not events.has_started
    assert events.add(Piece(text="a"), PROMPT)
    assert events.has_started
