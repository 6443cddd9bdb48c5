"""Calls that are demanded: always whole, of a tool that there is, with arguments of its schema."""

import json
import random

import pytest
from mlx_lm.tool_parsers import json_tools, kimi_k2, kimi_k3, longcat, mistral, qwen3_coder

from paddock.errors import BadRequest
from paddock.runner.engines.text.answer.style import ToolSyntax
from paddock.runner.engines.text.answer.tool_calls import read_calls
from paddock.runner.engines.text.grammar.constraint import Constraints
from paddock.runner.engines.text.grammar.lexicon import tokens_of
from paddock.runner.engines.text.grammar.tool_grammar import (
    HERMES,
    KIMI_K2,
    KIMI_K3,
    LONGCAT,
    MISTRAL,
    CallStyle,
    style_of_calls,
)
from paddock.runner.watch import Watch
from tests.runner.engines.text.schemas import TEXT, WHOLE, obj
from tests.runner.engines.text.walking import allowed, check, demo_constraints, demo_tokenizer, walk

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


@pytest.fixture(scope="module")
def marking():
    """A tokenizer that has the marks of calls as tokens, and constraints for it."""
    tokenizer = demo_tokenizer()
    tokenizer._tokenizer.backend_tokenizer.add_tokens(["<tool_call>", "</tool_call>"])
    size = tokenizer._tokenizer.backend_tokenizer.get_vocab_size()
    return tokenizer, Constraints(tokenizer, size, frozenset(tokenizer.eos_token_ids), Watch())


def strict(each: dict) -> dict:
    return {**each, "function": {**each["function"], "strict": True}}


@pytest.mark.parametrize("seed", range(4))
def test_calls_of_strict_tools_obey_wherever_the_model_begins_one(marking, seed):
    tokenizer, constraints = marking
    opening, closing, free = tokenizer.encode("<tool_call></tool_call>x", add_special_tokens=False)
    constraint = constraints.for_strict_calls([strict(TOOLS[0]), TOOLS[1]], HERMES, "<tool_call>")
    source, said, budget = random.Random(seed), [], 400
    for _ in range(2):
        assert constraint.prescribed(budget) is None
        assert constraint.permits(free)
        constraint.accept(free)
        constraint.accept(opening)
        said.append([])
        while constraint.is_in_call:
            tokens = allowed(constraint, budget)
            assert not set(tokens) & tokenizer.eos_token_ids
            token = source.choice(tokens)
            constraint.accept(token)
            said[-1].append(token)
            budget -= 1
    assert not constraint.is_finished

    for tokens in said:
        assert tokens.pop() == closing
        call = json.loads(tokenizer.decode(tokens))
        assert call.keys() == {"name", "arguments"}
        assert isinstance(call["arguments"], dict)
        if call["name"] == "forecast":
            check(PLACE, call["arguments"])


def test_only_strict_tools_hold_calls_that_nobody_demands(marking, constraints):
    _, marked = marking

    assert marked.for_strict_calls(TOOLS, HERMES, "<tool_call>") is None
    assert constraints.for_strict_calls([strict(TOOLS[0])], HERMES, "<call>") is None, "the mark is no token"
    with pytest.raises(BadRequest, match='the tool "odd"'):
        marked.for_strict_calls([strict(tool("odd", {"not": {}}))], HERMES, "<tool_call>")


def test_who_thinks_before_a_demanded_call_may_say_anything_but_an_end_or_a_call(marking):
    tokenizer, constraints = marking
    [opening] = tokenizer.encode("<tool_call>", add_special_tokens=False)
    before = constraints.for_tools(TOOLS, "required", "", HERMES).before

    everything = set(range(tokenizer._tokenizer.backend_tokenizer.get_vocab_size()))
    assert set(tokens_of(before)) == everything - tokenizer.eos_token_ids - {opening}


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


@pytest.mark.parametrize(
    ("style", "module"), [(LONGCAT, longcat), (KIMI_K2, kimi_k2), (KIMI_K3, kimi_k3), (HERMES, json_tools)]
)
def test_what_a_grammar_lets_through_is_a_call_to_its_reader(constraints, tokenizer, style, module):
    text = called(constraints, tokenizer, style, 1, name="forecast")
    inside = text.removeprefix(module.tool_call_start).split(module.tool_call_end)[0]

    [call] = read_calls(inside, ToolSyntax("", "", module.parse_tool_call, TOOLS))

    assert text.startswith(module.tool_call_start)
    assert call.name == "forecast"
    check(PLACE, call.arguments)


def test_the_style_of_calls_follows_from_who_reads_them():
    def style_for(module):
        return style_of_calls(ToolSyntax("", "", module.parse_tool_call))

    assert style_for(json_tools) is HERMES
    assert style_for(mistral) is MISTRAL
    assert [style_for(each) for each in (longcat, kimi_k2, kimi_k3)] == [LONGCAT, KIMI_K2, KIMI_K3]
    assert style_for(qwen3_coder) is None
    assert style_of_calls(None) is None
