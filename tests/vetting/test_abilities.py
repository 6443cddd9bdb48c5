from types import SimpleNamespace

import pytest
from mlx_lm.tokenizer_utils import _infer_tool_parser

from paddock.vetting.abilities import calls_tools, infill_marks, is_harmony, thinks

TOOL_TEMPLATES = [
    "{{ tools }}<minimax:tool_call>",
    "{{ tools }}<|tool_call>call:x{}<tool_call|>",
    "{{ tools }}<start_function_call>",
    "{{ tools }}<longcat_tool_call>",
    "{{ tools }}<arg_key>",
    "{{ tools }}<|tool_list_start|>",
    "{{ tools }}<|tool_call_start|>",
    "{{ tools }}{{ '<tool_call>\\n<function=' }}",
    "{{ tools }}<tool_call>\n<function=",
    "{{ tools }}<|tool_calls_section_begin|>",
    '{{ tools }}<function name="x"><param name="y">',
    "{{ tools }}[TOOL_CALLS]",
    "{{ tools }}<atem:function_calls>",
    "{{ tools }}<tool_call>{{ tool_call.name }}",
]
OTHERS = ["", "{{ messages }}", "{{ tools }}", "{{ tools }}<tool_call>", "{{ tools }}tool_call.name"]


@pytest.mark.parametrize("template", [*TOOL_TEMPLATES, *OTHERS])
def test_a_template_has_tools_where_the_library_has_a_parser_for_it(template):
    parser = _infer_tool_parser(SimpleNamespace(chat_template=template, get_vocab=dict))

    assert calls_tools(template) == (parser is not None)


def test_marks_without_a_place_for_the_definitions_are_no_tools():
    assert not calls_tools("[TOOL_CALLS]")


def test_channels_have_thinking_and_tools():
    template = "{{ tools }}<|start|>assistant to=functions.x<|channel|>commentary<|message|>"

    assert is_harmony(template)
    assert thinks(template)
    assert calls_tools(template)


@pytest.mark.parametrize(
    ("template", "expected"),
    [("<think>", True), ("content.split('</think>')", True), ("<|channel>thought", True), ("think first", False)],
)
def test_thinking_is_told_by_its_marks(template, expected):
    assert thinks(template) is expected


def test_gaps_are_filled_where_all_three_marks_are_tokens():
    marks = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")

    assert infill_marks({*marks, "<|im_end|>"}) == marks
    assert infill_marks(marks[:2]) is None
