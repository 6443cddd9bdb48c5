"""Turns of blocks become the turns of a conversation."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from paddock.api.anthropic.schemas import MessagesBody
from paddock.api.anthropic.turns import Conversation, conversation_of
from paddock.errors import BadRequest
from paddock.protocol import ChatMessage


def said(messages: list[dict[str, Any]], system: Any = None) -> Conversation:
    body = msgspec.convert({"messages": messages, "system": system}, MessagesBody)
    return conversation_of(body.messages, body.system)


def turn(role: str, *blocks: Any) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def use(given: str, name: str = "add", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": given, "name": name, "input": arguments}


def result(given: str, content: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": given, "content": content, **more}


def test_a_text_is_one_block() -> None:
    one = said([{"role": "user", "content": "Hi"}])

    assert one == said([turn("user", text("Hi"))])
    assert one.turns == (ChatMessage(role="user", content="Hi"),)


def test_blocks_are_paragraphs_and_marks_for_the_cache_mean_nothing() -> None:
    found = said([turn("user", text("Look:", cache_control={"type": "ephemeral"}), text("a fox"))])

    assert found.turns[0].content == "Look:\n\na fox"


def test_neighbours_of_one_role_are_one_turn() -> None:
    found = said([turn("user", text("a")), turn("user", text("b")), turn("assistant", text("c")),
                  turn("assistant", text("d")), turn("user", text("e"))])  # fmt: skip

    assert [(each.role, each.content) for each in found.turns] == [
        ("user", "a\n\nb"),
        ("assistant", "c\n\nd"),
        ("user", "e"),
    ]


@pytest.mark.parametrize("system", ["Be kind.", [text("Be"), text("kind.")]])
def test_the_system_prompt_goes_before_everything(system: Any) -> None:
    first, second = said([turn("user", text("Hi"))], system).turns

    assert (first.role, second.role) == ("system", "user")
    assert first.content.split() == ["Be", "kind."]


def test_what_claude_code_tells_for_the_bill_reaches_no_model() -> None:
    def prompt(nonce: str) -> Conversation:
        bill = text(f"x-anthropic-billing-header: cc_version=2.1.36; cch={nonce};")
        return said([turn("user", text("Hi"))], [bill, text("You are a coder.")])

    assert prompt("a1") == prompt("b2")
    assert prompt("a1").turns[0].content == "You are a coder."
    assert len(said([turn("user", text("Hi"))], [text("x-anthropic-billing-header: cch=1;")]).turns) == 1


def test_a_system_turn_stays_in_its_place() -> None:
    found = said([turn("user", text("a")), turn("system", text("b")), turn("user", text("c"))])

    assert [each.role for each in found.turns] == ["user", "system", "user"]


def test_calls_and_their_results_keep_their_ids_without_anthropics_prefix() -> None:
    found = said(
        [
            turn("user", text("?")),
            turn("assistant", text("I add."), use("toolu_call_1", a=1), use("toolu_call_2", "square", a=2)),
            turn("user", result("toolu_call_2", "4"), result("toolu_call_1", [text("1"), text("!")]), text("So?")),
        ]
    )

    _, called, *answered, asked = found.turns
    assert found.has_calls is True
    assert called.content == "I add."
    assert [(call.id, call.name, call.arguments) for call in called.tool_calls] == [
        ("call_1", "add", {"a": 1}),
        ("call_2", "square", {"a": 2}),
    ]
    assert [(each.role, each.tool_call_id, each.tool_name, each.content) for each in answered] == [
        ("tool", "call_2", "square", "4"),
        ("tool", "call_1", "add", "1\n\n!"),
    ]
    assert asked == ChatMessage(role="user", content="So?")


@pytest.mark.parametrize(
    ("content", "told"), [("No such file.", "The tool failed: No such file."), (None, "The tool failed.")]
)
def test_the_model_is_told_that_a_tool_failed(content: str | None, told: str) -> None:
    found = said(
        [turn("user", text("?")), turn("assistant", use("1")), turn("user", result("1", content, is_error=True))]
    )

    assert found.turns[-1].content == told


def test_a_result_may_be_empty() -> None:
    found = said([turn("user", text("?")), turn("assistant", use("1")), turn("user", result("1"))])

    assert found.turns[-1] == ChatMessage(role="tool", content="", tool_name="add", tool_call_id="1")


def test_earlier_thinking_is_handed_on_and_redacted_thinking_dropped() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
    redacted = {"type": "redacted_thinking", "data": "EmwK"}
    found = said([turn("user", text("?")), turn("assistant", thought, redacted, text("Yes.")), turn("user", text("!"))])

    assert found.turns[1] == ChatMessage(role="assistant", content="Yes.", thinking="Hm.")


def test_documents_and_search_results_are_told_as_text() -> None:
    document = {"type": "document", "title": "Foxes", "context": "a book"}
    plain = {**document, "source": {"type": "text", "media_type": "text/plain", "data": "Foxes run."}}
    parts = {**document, "source": {"type": "content", "content": [text("Foxes run.")]}}
    hit = {"type": "search_result", "source": "http://x", "title": "Owls", "content": [text("Owls fly.")]}

    told = said([turn("user", plain)]).turns[0].content

    assert told == "<document>\n<title>Foxes</title>\n<context>a book</context>\nFoxes run.\n</document>"
    assert said([turn("user", parts)]).turns[0].content == told
    assert said([turn("user", hit)]).turns[0].content == (
        "<search_result>\n<source>http://x</source>\n<title>Owls</title>\nOwls fly.\n</search_result>"
    )


def test_the_last_turn_of_the_assistant_is_how_the_answer_begins() -> None:
    begun = said([turn("user", text("?")), turn("assistant", text("The fox"))])
    empty = said([turn("user", text("?")), {"role": "assistant", "content": ""}])

    assert (len(begun.turns), begun.prefill) == (1, "The fox")
    assert (len(empty.turns), empty.prefill) == (1, "")


CALLED = [turn("user", text("?")), turn("assistant", use("1"))]
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([{"role": "tool", "content": "x"}], 'The role of a turn must be "user", "assistant" or "system".'),
        ([{"role": "user"}], 'Each turn must have a "content".'),
        ([turn("user", {"text": "x"})], 'Each block must have a "type".'),
        ([turn("user", {"type": "text"})], 'A block of the type "text" must have a "text".'),
        ([turn("user", use("1"))], '"tool_use" cannot stand in a turn of the role "user"'),
        ([turn("assistant", result("1"))], '"tool_result" cannot stand in a turn of the role "assistant"'),
        ([turn("system", result("1"))], '"tool_result" cannot stand in a turn of the role "system"'),
        ([turn("user", {"type": "image", "source": {"type": "base64"}})], "does not support image input"),
        ([turn("user", PDF)], "Only documents of plain text are supported"),
        ([turn("user", {"type": "document"})], '"document" must have a "source"'),
        ([turn("user", {**PDF, "citations": {"enabled": True}})], '"citations" are not supported'),
        ([turn("user", {"type": "container_upload", "file_id": "f"})], 'type "container_upload" are not supported'),
        ([turn("assistant", {"type": "server_tool_use"}), turn("user", text("?"))], '"server_tool_use" are not'),
        ([turn("assistant", text("Hi"))], "a turn that the assistant can answer"),
        ([turn("user", text("?")), turn("assistant", text("The fox "))], "must not end with white space"),
        (CALLED, 'A "tool_use" in the last turn has no "tool_result"'),
        ([*CALLED, turn("user", text("And?"))], 'The "tool_use" with the id "1" has no "tool_result"'),
        ([*CALLED, turn("user", result("2"))], 'A "tool_result" is for "2", which is no "tool_use"'),
        ([*CALLED, turn("user", result("1"), result("1"))], 'A "tool_result" is for "1"'),
        ([turn("user", result("1"))], 'A "tool_result" is for "1"'),
        ([turn("user", text("?")), turn("assistant", use("1"), use("1")), turn("user")], 'an "id" of its own'),
        ([turn("user", text("?")), turn("assistant", {"type": "tool_use"}), turn("user")], 'an "id" of its own'),
        ([*CALLED, turn("user", result("1", [{"type": "tool_reference"}]))], '"tool_reference" are not supported'),
    ],
)
def test_what_breaks_the_form_is_refused(messages: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        said(messages)

    assert sentence in caught.value.message
    assert caught.value.message.endswith(".")
