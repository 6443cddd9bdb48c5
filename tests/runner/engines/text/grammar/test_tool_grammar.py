"""Calls that are demanded: always whole, of a tool that there is, with arguments of its schema."""

import json
import random

import pytest
from mlx_lm.tool_parsers import json_tools, mistral, qwen3_coder

from paddock.errors import BadRequest
from paddock.runner.engines.text.answer.style import ToolSyntax
from paddock.runner.engines.text.grammar.tool_grammar import HERMES, MISTRAL, CallStyle, style_of_calls
from tests.runner.engines.text.schemas import TEXT, WHOLE, obj
from tests.runner.engines.text.walking import check, demo_constraints, demo_tokenizer, walk

SPECIAL = CallStyle('<|im_start|>{"name": ', ', "arguments": ', "}<|im_start|>", may_repeat=False)
PLACE = {"$defs": {"place": obj(city=TEXT)}, **obj(at={"$ref": "#/$defs/place"}, days={**WHOLE, "minimum": 1})}


def tool(name: str, parameters: object) -> dict:
    return {"type": "function", "function": {"name": name, "description": "?", "parameters": parameters}}


TOOLS = (tool("forecast", PLACE), tool("now", None), tool('say "hi"', obj(text=TEXT)))
PARAMETERS = {each["function"]["name"]: each["function"]["parameters"] or {"type": "object"} for each in TOOLS}


@pytest.fixture(scope="module")
def constraints():
    return demo_constraints()


@pytest.fixture(scope="module")
def tokenizer():
    return demo_tokenizer()


def called(constraints, tokenizer, style, seed, name="", budget=300) -> str:
    constraint = constraints.for_tools(TOOLS, "required", name, style)
    answer = walk(constraint, tokenizer.eos_token_ids, random.Random(seed), budget)
    assert answer.ended
    return answer.text(tokenizer)


@pytest.mark.parametrize("seed", range(8))
def test_calls_are_whole_and_their_arguments_valid(constraints, tokenizer, seed):
    text = called(constraints, tokenizer, HERMES, seed)

    calls = [part.strip().removesuffix("</tool_call>") for part in text.split("<tool_call>")[1:]]
    assert calls
    for call in map(json.loads, calls):
        assert call.keys() == {"name", "arguments"}
        check(PARAMETERS[call["name"]], call["arguments"])


def test_the_tool_that_was_named_is_the_one_that_is_called(constraints, tokenizer):
    for seed in range(4):
        assert '{"name": "forecast", ' in called(constraints, tokenizer, HERMES, seed, name="forecast")


def test_marks_may_be_special_tokens(constraints, tokenizer):
    text = called(constraints, tokenizer, SPECIAL, 0)
    mark = tokenizer.encode("<|im_start|>", add_special_tokens=False)

    assert len(mark) == 1
    call = json.loads(text.removeprefix("<|im_start|>").removesuffix("<|im_start|>"))
    check(PARAMETERS[call["name"]], call["arguments"])


def test_names_may_stand_without_quotes(constraints, tokenizer):
    text = called(constraints, tokenizer, MISTRAL, 0, name="forecast")

    [name, arguments] = text.split("[TOOL_CALLS]")[1].split("[ARGS]")
    assert name == "forecast"
    check(PLACE, json.loads(arguments))


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_nothing_is_demanded_unless_it_is_required(constraints, choice):
    assert constraints.for_tools(TOOLS, choice, "", HERMES) is None


def test_an_answer_may_be_calls_or_obey_a_schema(constraints, tokenizer):
    answer_schema = obj(total=WHOLE)
    kinds = set()
    for seed in range(12):
        constraint = constraints.for_tools_or_schema(TOOLS, HERMES, json.dumps(answer_schema))
        found = walk(constraint, tokenizer.eos_token_ids, random.Random(seed), 300)
        text = found.text(tokenizer)
        assert found.ended
        kinds.add("calls" if text.startswith("<tool_call>") else "answer")
        for call in (json.loads(part.strip().removesuffix("</tool_call>")) for part in text.split("<tool_call>")[1:]):
            check(PARAMETERS[call["name"]], call["arguments"])
        if "<tool_call>" not in text:
            check(answer_schema, json.loads(text))

    assert kinds == {"calls", "answer"}


def test_either_is_refused_for_what_cannot_be_enforced(constraints):
    with pytest.raises(BadRequest, match='"not"'):
        constraints.for_tools_or_schema(TOOLS, HERMES, '{"not": {}}')


def test_a_tool_that_does_not_exist_cannot_be_demanded(constraints):
    with pytest.raises(BadRequest, match="not among the tools"):
        constraints.for_tools(TOOLS, "required", "other", HERMES)


def test_parameters_that_cannot_be_enforced_are_refused_with_the_name_of_their_tool(constraints):
    with pytest.raises(BadRequest, match=r'"odd".*"not"'):
        constraints.for_tools((tool("odd", {"not": {}}),), "required", "", HERMES)


def test_the_style_of_calls_follows_from_who_reads_them():
    def style_for(module):
        return style_of_calls(ToolSyntax("", "", module.parse_tool_call))

    assert style_for(json_tools) is HERMES
    assert style_for(mistral) is MISTRAL
    assert style_for(qwen3_coder) is None
    assert style_of_calls(None) is None
