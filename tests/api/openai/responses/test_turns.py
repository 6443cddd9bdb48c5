"""What stands in `input` becomes items, and items become the turns that a template reads."""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec
import pytest

from paddock.api.openai.responses.inputs import items_of, references_in
from paddock.api.openai.responses.items import FunctionCall, Item
from paddock.api.openai.responses.schemas import InputItem
from paddock.api.openai.responses.thoughts import sealed, unsealed
from paddock.api.openai.responses.turns import turns_of
from paddock.errors import BadRequest
from paddock.protocol import CalledTool, ChatMessage

USER = {"role": "user", "content": "Hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"z":1,"a":2}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "3"}
CALLED = CalledTool(name="add", arguments={"z": 1, "a": 2}, id="c1")


def items(*given: object, referred: dict[str, Item] | None = None) -> tuple[Item, ...]:
    numbers = count()
    return items_of(msgspec.convert(given, list[InputItem]), referred or {}, lambda prefix: f"{prefix}{next(numbers)}")


def turns(*given: object, instructions: str | None = None) -> tuple[ChatMessage, ...]:
    return turns_of(instructions, items(*given))


def said(text: str, **fields: Any) -> ChatMessage:
    return ChatMessage(role="assistant", content=text, **fields)


def test_a_text_is_what_the_user_says() -> None:
    found = items_of("Hi", {}, lambda prefix: prefix)

    assert turns_of(None, found) == (ChatMessage(role="user", content="Hi"),)
    assert msgspec.to_builtins(found)[0]["content"] == ({"type": "input_text", "text": "Hi"},)


def test_messages_may_be_easy_or_typed_and_their_parts_are_one_text() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]

    assert turns({"type": "message", "role": "user", "content": parts}, USER) == (
        ChatMessage(role="user", content="a\nb"),
        ChatMessage(role="user", content="Hi"),
    )


def test_an_earlier_answer_may_be_a_text_a_part_or_a_refusal() -> None:
    part = {"type": "output_text", "text": "Yes", "annotations": [], "logprobs": []}
    refusal = {"type": "refusal", "refusal": "No"}

    for content, text in (("Yes", "Yes"), ([part], "Yes"), ([refusal], "No")):
        assert turns(USER, {"role": "assistant", "content": content})[1] == said(text)


def test_what_opens_in_the_role_of_the_system_is_one_turn() -> None:
    opening = [{"role": role, "content": role} for role in ("system", "developer")]

    found = turns(*opening, USER, opening[1], instructions="Be brief.")

    assert [(turn.role, turn.content) for turn in found] == [
        ("system", "Be brief.\n\nsystem\n\ndeveloper"),
        ("user", "Hi"),
        ("system", "developer"),
    ]


def test_thinking_text_and_calls_in_a_row_are_one_turn() -> None:
    thinking = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]}

    found = turns(USER, thinking, {"role": "assistant", "content": "Yes"}, CALL, CALL | {"call_id": "c2"}, OUTPUT)

    second = CalledTool(name="add", arguments={"z": 1, "a": 2}, id="c2")
    assert found[1:] == (
        said("Yes", thinking="Hm", tool_calls=(CALLED, second)),
        ChatMessage(role="tool", content="3", tool_call_id="c1"),
    )
    assert list(found[1].tool_calls[0].arguments) == ["z", "a"]


def test_answers_in_a_row_are_turns_of_their_own() -> None:
    answers = [{"role": "assistant", "content": text} for text in ("a", "b")]

    assert turns(USER, *answers)[1:] == (said("a"), said("b"))


def test_text_after_a_call_stays_in_its_turn() -> None:
    answers = [{"role": "assistant", "content": text} for text in ("a", "b")]

    assert turns(USER, answers[0], CALL, answers[1])[1:] == (said("a\n\nb", tool_calls=(CALLED,)),)


@pytest.mark.parametrize(
    "fields",
    [
        {"content": [{"type": "reasoning_text", "text": "Hm"}], "summary": [{"type": "summary_text", "text": "no"}]},
        {"encrypted_content": sealed("Hm"), "summary": [{"type": "summary_text", "text": "no"}]},
        {"summary": [{"type": "summary_text", "text": "Hm"}]},
    ],
)
def test_thinking_is_taken_from_wherever_it_is_told(fields: dict[str, Any]) -> None:
    found = turns(USER, {"type": "reasoning", "id": "rs_1", **fields}, {"role": "assistant", "content": "Yes"})

    assert found[1] == said("Yes", thinking="Hm")


def test_thinking_that_says_nothing_is_no_turn() -> None:
    assert turns(USER, {"type": "reasoning", "id": "rs_1", "summary": []}, USER) == turns(USER, USER)


def test_a_call_may_bring_its_arguments_as_an_object_and_an_output_parts() -> None:
    output = [{"type": "input_text", "text": "3"}, {"type": "input_text", "text": "4"}]

    found = turns(USER, CALL | {"arguments": {"z": 1, "a": 2}}, OUTPUT | {"output": output})

    assert found[1].tool_calls == (CALLED,)
    assert found[2].content == "3\n4"


def test_a_reference_stands_for_the_item() -> None:
    call = FunctionCall(id="fc_9", call_id="c1", name="add", arguments="{}")

    for reference in ({"type": "item_reference", "id": "fc_9"}, {"id": "fc_9"}):
        assert items(reference, referred={"fc_9": call}) == (call,)
        assert references_in(msgspec.convert([reference, USER], list[InputItem])) == {"fc_9"}


def test_items_keep_their_ids_and_get_new_ones() -> None:
    found = items(USER | {"id": "msg_mine"}, USER, CALL, OUTPUT)

    assert [item.id for item in found] == ["msg_mine", "msg_0", "fc_1", "fco_2"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"role": "tool", "content": "x"}, 'The role of "input[0]" must be user, assistant, system or developer.'),
        ({"role": "user"}, '"input[0]" must have a content.'),
        ({"role": "user", "content": [{"type": "text", "text": "x"}]}, 'type of "input[0].content[0]" must be input'),
        ({"role": "user", "content": [{"type": "input_text"}]}, '"input[0].content[0]" has no text.'),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}, "holds a picture"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}, "holds a file"),
        (OUTPUT | {"output": [{"type": "input_image", "image_url": "x"}]}, "holds a picture"),
        ({"role": "user", "content": [{"type": "input_text", "text": "x", "file_id": "x"}]}, "holds a file"),
        (
            OUTPUT | {"output": [{"type": "output_text", "text": "x"}]},
            'type of "input[0].output[0]" must be input_text.',
        ),
        (OUTPUT | {"output": None}, '"input[0]" must have an output.'),
        (OUTPUT | {"call_id": None}, "of the call that it answers"),
        (OUTPUT, "No tool call found for function call output with call_id c1."),
        (CALL | {"name": None}, 'must have a "call_id" and a "name".'),
        (CALL | {"namespace": "x"}, "of a namespace of tools"),
        (CALL | {"arguments": "{"}, "must be a JSON object"),
        (CALL | {"arguments": "[1]"}, "must be a JSON object"),
        (CALL | {"arguments": "[" * 100_000}, "nested"),
        (CALL | {"arguments": '{"a":[' + "[]," * 300_000 + "[]]}"}, "parts"),
        (CALL | {"arguments": f'{{"a":{2**1024 + 1}}}'}, "more than 1024 bits"),
        (CALL | {"arguments": '{"a":' * 40 + "1" + "}" * 40}, "nested in more than 32 levels"),
        ({"type": "web_search_call", "id": "ws_1"}, 'of the type "web_search_call", which is not known here'),
        ({"type": "item_reference", "id": "msg_1"}, "refers to the item 'msg_1', which is not kept here"),
        ({"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAAA"}, "is not of this server"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        turns(given)

    assert sentence in caught.value.message


def test_more_items_than_anybody_needs_are_refused() -> None:
    with pytest.raises(BadRequest, match="at most 10000 items"):
        items(*[USER] * 10_001)


@pytest.mark.parametrize("text", ["", "Hm", "é\n\x00", "🙂" * 50])
def test_coded_thinking_is_read_again(text: str) -> None:
    assert unsealed(sealed(text)) == text
    assert unsealed(sealed(text)[1:]) is None
    assert unsealed("plain1.%") is None
    assert unsealed("plain1./w==") is None
