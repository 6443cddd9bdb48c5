"""What training writes down is what the chat template renders and the tokenizer reads, to the letter."""

from __future__ import annotations

import random
from itertools import repeat
from typing import Any

import pytest

from conversations import next_turn, system_message
from tool_turns import make_tools, tool_turn
from turns import Mode, Turn, called_text, pieces_of, prompt_text, system_text


def messages_of(turn: Turn, answered: bool) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = [{"role": "user", "content": turn.question}]
    if turn.calls:
        calls = [{"function": {"name": call.name, "arguments": call.arguments}} for call in turn.calls]
        asked.append({"role": "assistant", "content": "", "tool_calls": calls})
        asked += [{"role": "tool", "content": call.result} for call in turn.calls]
    return [*asked, {"role": "assistant", "content": turn.answer}] if answered else asked


@pytest.mark.parametrize("seed", range(20))
def test_training_and_the_template_write_a_conversation_the_same(demo: tuple[Any, Any], seed: int) -> None:
    rng = random.Random(seed)
    system, own_name = system_message(rng)
    tools = make_tools(rng, 2) if seed % 2 else []
    schemas = [tool.schema for tool in tools]
    turns = [tool_turn(rng, tool) for tool in tools] if tools else [next_turn(rng, own_name)] * 2
    messages = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        messages += messages_of(turn, answered=True)

    rendered = demo[1].apply_chat_template(messages, tools=[{"function": each} for each in schemas], tokenize=False)

    written = "".join(piece.text for turn in turns for piece in pieces_of(turn, repeat(Mode.BARE)))
    assert rendered == system_text(system, schemas) + written


@pytest.mark.parametrize(("mode", "thinks"), [(Mode.AT_ONCE, False), (Mode.THINKING, True)])
def test_prompts_are_those_of_the_template(demo: tuple[Any, Any], mode: Mode, thinks: bool) -> None:
    rng = random.Random(7)
    tools = make_tools(rng, 3)
    schemas, turn = [tool.schema for tool in tools], tool_turn(rng, tools[1])
    options = {"tools": [{"function": each} for each in schemas], "add_generation_prompt": True}
    options |= {"enable_thinking": thinks, "tokenize": False}

    first = demo[1].apply_chat_template(messages_of(turn, answered=False)[:1], **options)
    second = demo[1].apply_chat_template(messages_of(turn, answered=False), **options)

    assert first == prompt_text(turn.question, None, schemas, mode)
    assert second == prompt_text(turn.question, None, schemas, Mode.BARE) + called_text(turn, mode)


def test_a_name_is_the_same_tokens_in_a_sentence_and_in_json(demo: tuple[Any, Any]) -> None:
    def tokens(text: str) -> list[int]:
        return demo[1].encode(text, add_special_tokens=False)

    name = tokens("San Francisco")

    assert tokens("in San Francisco?")[-len(name) - 1 : -1] == name
    assert tokens('{"city": "San Francisco"}')[-len(name) - 1 : -1] == name
    assert len(tokens("2026")) == 4
