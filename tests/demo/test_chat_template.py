"""The chat template that the demo model is to be trained with: its markup, and what servers conclude from it."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from mlx_lm.tokenizer_utils import _infer_tool_parser

from paddock.runner.engines.text.prompt.template_worker import compiled
from paddock.store.templates import check_template
from paddock.vetting.abilities import calls_tools, thinks

TEMPLATE = (Path(__file__).parents[2] / "training" / "chat_template.jinja").read_text()
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}
SHOWN_TOOL = '{"name": "add", "description": "Adds.", "parameters": {"type": "object"}}'


def rendered(*messages, **variables) -> str:
    return compiled(TEMPLATE).render(messages=list(messages), add_generation_prompt=True, **variables)


def said(role: str, content: str = "", **more) -> dict:
    return {"role": role, "content": content, **more}


def called(name: str, **arguments) -> dict:
    return {"type": "function", "id": "call00000", "function": {"name": name, "arguments": arguments}}


def test_a_plain_conversation_is_written_as_the_model_knows_it_already():
    assert rendered(
        said("system", "Be kind."), said("user", " Hi "), said("assistant", "Hello."), said("user", "?")
    ) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n"
        "<|im_start|>user\n?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("messages", "system"),
    [([said("user", "1+1?")], ""), ([said("system", "Be kind."), said("user", "1+1?")], "Be kind.\n\n")],
)
def test_tools_are_told_in_the_system_message(messages, system):
    assert rendered(*messages, tools=[TOOL]) == (
        f"<|im_start|>system\n{system}<tools>\n{SHOWN_TOOL}\n</tools><|im_end|>\n"
        "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_calls_and_their_results_come_in_their_order():
    calls = [called("add", a=1, b=2), called("add", a=3, b=4)]

    text = rendered(said("user", "?"), said("assistant", tool_calls=calls), said("tool", "3", name="add"))

    assert text == (
        "<|im_start|>user\n?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>\n'
        '<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": 4}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\n3<|im_end|>\n<|im_start|>assistant\n"
    )


def test_words_before_a_call_stand_on_a_line_of_their_own():
    text = rendered(said("user", "?"), said("assistant", "I add.", tool_calls=[called("add")]))

    assert 'I add.\n<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call><|im_end|>' in text


def test_thinking_is_kept_while_its_turn_goes_on_and_left_out_later():
    thought = said("assistant", tool_calls=[called("add")], reasoning_content="I add.")

    during = rendered(said("user", "?"), thought, said("tool", "3"))
    later = rendered(said("user", "?"), thought, said("tool", "3"), said("assistant", "3"), said("user", "And?"))

    assert "<|im_start|>assistant\n<think>\nI add.\n</think>\n\n<tool_call>" in during
    assert "I add." not in later


def test_thinking_that_is_not_wanted_is_over_before_the_answer_begins():
    assert rendered(said("user", "?"), enable_thinking=False).endswith("assistant\n<think>\n\n</think>\n\n")
    assert rendered(said("user", "?"), enable_thinking=True).endswith("assistant\n")


def test_it_says_what_the_model_can_do():
    check_template(TEMPLATE)
    tokenizer = SimpleNamespace(chat_template=TEMPLATE, get_vocab=dict)

    assert _infer_tool_parser(tokenizer) == "json_tools"
    assert calls_tools(TEMPLATE)
    assert thinks(TEMPLATE)
