"""The turns of a conversation, as OpenAI's clients write them."""

from __future__ import annotations

from typing import Any

import pytest

from paddock.errors import BadRequest, Unsupported
from paddock.protocol import CalledTool, ChatMessage
from paddock.store.library import StoredModel
from tests.api.openai.asking import QUESTION, blamed, wanted


def turns_of(model: StoredModel, *turns: dict[str, Any]) -> tuple[ChatMessage, ...]:
    return wanted(model, messages=list(turns)).messages


@pytest.mark.parametrize(
    ("role", "known_as"),
    [("developer", "system"), ("system", "system"), ("user", "user"), ("assistant", "assistant")],
)
def test_roles_are_known(smart_model: StoredModel, role: str, known_as: str) -> None:
    assert turns_of(smart_model, {"role": role, "content": "x", "name": "Ann"}) == (
        ChatMessage(role=known_as, content="x"),
    )


def test_the_text_parts_of_a_message_stay_one_message(smart_model: StoredModel) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]

    assert turns_of(smart_model, {"role": "user", "content": parts}) == (ChatMessage(role="user", content="one\ntwo"),)


def test_a_refusal_is_what_an_assistant_said(smart_model: StoredModel) -> None:
    expected = (ChatMessage(role="assistant", content="No."),)

    parts = [{"type": "refusal", "refusal": "No."}]
    assert turns_of(smart_model, {"role": "assistant", "content": parts}) == expected
    assert turns_of(smart_model, {"role": "assistant", "content": None, "refusal": "No."}) == expected


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_what_was_thought_before_comes_back_as_thinking(smart_model: StoredModel, name: str) -> None:
    [turn] = turns_of(smart_model, {"role": "assistant", "content": "x", name: "Hm"})

    assert (turn.content, turn.thinking) == ("x", "Hm")


def test_calls_and_what_tools_answered_come_in_their_order(smart_model: StoredModel) -> None:
    function = {"name": "add", "arguments": '{"z":1,"a":2}'}

    _, said, answered = turns_of(
        smart_model,
        *QUESTION,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": function},
                {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": ""}},
                {"id": "call_3", "type": "function", "function": {"name": "now", "arguments": {"b": 1}}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "3"}], "name": "add"},
    )

    assert said.tool_calls == (
        CalledTool(name="add", arguments={"z": 1, "a": 2}, id="call_1"),
        CalledTool(name="now", arguments={}, id="call_2"),
        CalledTool(name="now", arguments={"b": 1}, id="call_3"),
    )
    assert list(said.tool_calls[0].arguments) == ["z", "a"]
    assert answered == ChatMessage(role="tool", content="3", tool_name="add", tool_call_id="call_1")


def test_calls_of_former_times_have_no_ids(smart_model: StoredModel) -> None:
    said, answered = turns_of(
        smart_model,
        {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": '{"a": 1}'}},
        {"role": "function", "name": "add", "content": "3"},
    )

    assert said.tool_calls == (CalledTool(name="add", arguments={"a": 1}),)
    assert answered == ChatMessage(role="tool", content="3", tool_name="add")


@pytest.mark.parametrize(
    ("turn", "sentence"),
    [
        ({"role": "narrator", "content": "x"}, "The role of"),
        ({"role": "", "content": "x"}, "The role of"),
        ({"role": "user", "content": [{"type": "text"}]}, "must be of the type text"),
        ({"role": "user", "content": [{"type": "video", "text": "x"}]}, "must be of the type text"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "does not support image"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "does not support audio input"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "does not support file input"),
        ({"role": "assistant", "audio": {"id": "x"}}, "does not support audio output"),
        ({"role": "assistant", "tool_calls": [{"id": "x"}]}, "must be of the type function"),
        ({"role": "assistant", "tool_calls": [{"type": "custom", "custom": {}}]}, "must be of the type function"),
        ({"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}, "a function with a name"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, "must be a JSON object"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]},
            "must be a JSON object",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[" * 5000}}]},
            "nested too deeply",
        ),
    ],
)
def test_what_is_no_turn_is_refused(smart_model: StoredModel, turn: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        wanted(smart_model, messages=[*QUESTION, turn])


def test_the_turn_to_blame_is_named(smart_model: StoredModel) -> None:
    error = blamed(smart_model, messages=[*QUESTION, {"role": "narrator"}])

    assert error.field == "messages[1]"


@pytest.mark.parametrize("messages", [None, []])
def test_a_conversation_has_messages(smart_model: StoredModel, messages: object) -> None:
    error = blamed(smart_model, messages=messages)

    assert error.field == "messages"


def test_calls_of_earlier_turns_need_a_model_that_calls(tiny_model: StoredModel) -> None:
    turn = {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}

    with pytest.raises(Unsupported, match='"tiny:latest" does not support tools'):
        wanted(tiny_model, messages=[turn])
