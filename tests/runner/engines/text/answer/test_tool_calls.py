import json
import re
import time
from dataclasses import replace

import pytest
from mlx_lm.tool_parsers import gemma4, glm47, kimi_k2, kimi_k3, pythonic, qwen3_coder

from paddock.protocol import ToolCall, decode, encode
from paddock.runner.engines.text.answer.style import ToolSyntax
from paddock.runner.engines.text.answer.tool_calls import MAX_CALL_CHARACTERS, is_whole, new_id, read_calls
from tests.runner.engines.text.styles import HERMES, TOOLS


def syntax_of(parser) -> ToolSyntax:
    return ToolSyntax(parser.tool_call_start, parser.tool_call_end, parser.parse_tool_call, TOOLS)


def calling(found) -> ToolSyntax:
    """A parser that finds the same in every text."""
    return replace(HERMES, parse=lambda text, tools: found)


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        (
            qwen3_coder,
            "\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2\n</parameter>\n</function>\n",
        ),
        (glm47, "add\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>b</arg_key>\n<arg_value>2</arg_value>"),
        (pythonic, "[add(a=1, b=2)]"),
        (gemma4, "call:add{a:1,b:2}"),
        (kimi_k2, '<|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{"a": 1, "b": 2}<|tool_call_end|>'),
    ],
    ids=lambda value: getattr(value, "__name__", "").rpartition(".")[2],
)
def test_the_librarys_parsers_read_calls(parser, text):
    [call] = read_calls(text, syntax_of(parser))

    assert (call.name, call.arguments) == ("add", {"a": 1, "b": 2})


def test_every_call_gets_a_name_of_its_own():
    ids = {new_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(re.fullmatch(r"call_[0-9a-z]{8}", each) for each in ids)


def test_a_name_that_the_model_gave_is_kept():
    found = {"name": "add", "arguments": {}, "id": "functions.add:0"}

    assert read_calls("", calling(found))[0].id == "functions.add:0"
    assert read_calls("", calling(found | {"id": "x" * 65}))[0].id.startswith("call_")
    assert read_calls("", calling(found | {"id": "a\nb"}))[0].id.startswith("call_")


@pytest.mark.parametrize("arguments", ['{"a": 1}', {"a": 1}])
def test_arguments_may_come_as_text(arguments):
    assert read_calls("", calling({"name": "add", "arguments": arguments}))[0].arguments == {"a": 1}


def test_a_call_may_have_no_arguments():
    assert read_calls("", calling({"name": "add"}))[0].arguments == {}


@pytest.mark.parametrize(
    "found",
    [
        *(None, [], 5, {}, {"name": "rm", "arguments": {}}, {"name": ["add"], "arguments": {}}),
        *({"name": "add", "arguments": [1]}, {"name": "add", "arguments": "x"}, {"name": "add", "arguments": 5}),
        {"name": "add", "arguments": {"a": {1, 2}}},
        {"name": "add", "arguments": {"a": b"bytes"}},
        {"name": "add", "arguments": {"a": float("nan")}},
        {"name": "add", "arguments": {"a": "\ud800"}},
        [{"name": "add", "arguments": {}}, {"name": "rm", "arguments": {}}],
    ],
    ids=repr,
)
def test_what_is_no_call_is_none(found):
    assert read_calls("", calling(found)) == []


@pytest.mark.parametrize(
    "error",
    [
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        SyntaxError,
        RecursionError,
        OverflowError,
        MemoryError,
    ],
)
def test_no_error_of_a_parser_gets_out(error):
    def fail(text, tools):
        raise error("oh")

    assert read_calls("{}", replace(HERMES, parse=fail)) == []


def test_arguments_can_be_read_by_any_program():
    found = {"name": "add", "arguments": {"a": 2**70, "b": (1, 2), 3: "c", "d": None}}

    [call] = read_calls("", calling(found))

    assert call.arguments == {"a": 2**70, "b": [1, 2], "3": "c", "d": None}
    assert decode(encode(call), ToolCall) == call


@pytest.mark.parametrize(
    "text", ["[" * 50_000, '{"a":' * 5_000, "-" * 5_000 + "1", "(" * 5_000, '{"name": "add", ' * 500]
)
@pytest.mark.parametrize("parser", [glm47, pythonic, qwen3_coder, kimi_k2, gemma4])
def test_nonsense_is_no_call_however_deep(parser, text):
    assert read_calls(text, syntax_of(parser)) == []


def test_arguments_that_are_nested_too_deeply_are_no_call():
    deep = json.loads('{"a":' * 40 + "1" + "}" * 40)

    assert read_calls("", calling({"name": "add", "arguments": deep})) == []


def test_a_text_that_is_far_too_long_is_not_even_parsed():
    assert read_calls(" " * MAX_CALL_CHARACTERS + '{"name": "add"}', HERMES) == []


@pytest.mark.parametrize(
    ("text", "whole"), [("{}", True), (' {"a": 1}\n', True), ("{", False), ("[]", False), ("", False)]
)
def test_json_tells_where_a_call_ends(text, whole):
    assert is_whole(text) is whole


@pytest.mark.parametrize(
    ("parser", "opening"), [(gemma4, "call:add{"), (kimi_k3, "<|open|>call"), (qwen3_coder, "<function=")]
)
def test_many_openings_without_an_end_hold_nobody_up(parser, opening):
    text = opening * (100_000 // len(opening))

    started = time.process_time()
    assert read_calls(text, syntax_of(parser)) == []
    assert time.process_time() - started < 1.0
