"""What the demo model can do beside talking: it calls tools, thinks and writes JSON."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from exercises import sum_turn
from grammar import check_story
from tool_families import FAMILIES
from tool_turns import COMMON_NAMES, make_tool, tool_turn
from tool_values import UNSEEN_CITIES
from turns import calls_in, spoken

ASK = Any
FORECAST = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "required": ["a", "b"],
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        },
    },
}


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def parsed(demo: tuple[Any, Any], text: str) -> list[Any]:
    """The calls of an answer, as mlx-lm's own parser for this tokenizer reads them."""
    _, tokenizer = demo
    parts = text.split(tokenizer.tool_call_start)[1:]
    return [tokenizer.tool_parser(part.split(tokenizer.tool_call_end)[0]) for part in parts]


def test_servers_see_that_it_thinks_and_calls_tools(demo: tuple[Any, Any]) -> None:
    _, tokenizer = demo
    assert (tokenizer.has_thinking, tokenizer.think_start, tokenizer.think_end) == (True, "<think>", "</think>")
    assert (tokenizer.has_tool_calling, tokenizer.tool_call_start) == (True, "<tool_call>")
    for mark in ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tools>", "</tools>"):
        (token,) = tokenizer.encode(mark, add_special_tokens=False)
        assert tokenizer.decode([token], skip_special_tokens=True) == mark


@pytest.mark.parametrize("think", [False, True])
def test_the_weather_is_asked_of_a_tool_and_told(demo: tuple[Any, Any], ask: ASK, think: bool) -> None:
    question = user("What is the weather in Paris?")

    (said,) = ask([question], think=think, tools=[FORECAST, ADD])
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": parsed(demo, said)[0]}]}
    (told,) = ask([[*question, called, {"role": "tool", "content": "18 degrees and sunny"}]], think=think, tools=[ADD])

    assert parsed(demo, said) == [{"name": "get_weather", "arguments": {"city": "Paris"}}]
    assert spoken(told) == "The weather in Paris: 18 degrees and sunny."


@pytest.mark.parametrize("think", [False, True])
def test_questions_that_need_no_tool_are_answered(ask: ASK, think: bool) -> None:
    questions = ("What is Paddock?", "Tell me a story about a red fox.", "Hello", "How do I stop a model?", "Thank you")

    said = ask([user(question) for question in questions], think=think, tools=[FORECAST, ADD])

    assert "local model server" in spoken(said[0])
    assert check_story(spoken(said[1]), "red fox") == []
    assert not [text for text in said if "<tool_call>" in text]


def test_most_calls_copy_what_training_never_saw(ask: ASK) -> None:
    rng, right = random.Random(30), 0
    (weather,) = (family for family in FAMILIES if family.key == "weather")
    for _ in UNSEEN_CITIES:
        tool = make_tool(rng, weather, COMMON_NAMES)
        turn = tool_turn(rng, tool, unseen=True)
        (said,) = ask([user(turn.question)], tools=[{"function": tool.schema}])
        right += calls_in(said) == [{"name": call.name, "arguments": call.arguments} for call in turn.calls]
    assert right >= 0.8 * len(UNSEEN_CITIES)


def test_it_thinks_before_it_answers_unless_it_is_told_not_to(ask: ASK) -> None:
    questions = [
        user("What is Paddock?"),
        user("Tell me a story about a red fox."),
        user("Hello"),
        user("What is 2 + 3?"),
    ]

    thoughtful, at_once = ask(questions, think=True), ask(questions, think=False)

    for text in thoughtful:
        assert text.startswith("<think>\n")
        assert text.count("</think>\n\n") == 1
        assert spoken(text)
    assert check_story(spoken(thoughtful[1]), "red fox") == []
    assert not [text for text in at_once if "think>" in text]


def test_thinking_helps_with_sums(ask: ASK) -> None:
    rng = random.Random(31)
    turns = [sum_turn(rng, unseen=True) for _ in range(20)]

    said = ask([user(turn.question) for turn in turns], think=True)

    assert sum(spoken(text) == turn.answer for text, turn in zip(said, turns, strict=True)) >= 16


@pytest.mark.parametrize("think", [False, True])
def test_without_a_name_it_is_the_demo_model(ask: ASK, think: bool) -> None:
    hello, who = ask([user("Hello"), user("Who are you?")], think=think)

    assert spoken(hello).startswith("Hello! Ask me")
    assert "demo model" in spoken(who)


def test_facts_come_back_as_json(ask: ASK) -> None:
    (said,) = ask([user("Answer in JSON with the keys name and age: Emma is 31 years old.")])

    assert json.loads(said) == {"name": "Emma", "age": 31}
