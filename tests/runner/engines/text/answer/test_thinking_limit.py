"""When thinking is closed, and with which tokens."""

from dataclasses import replace

import pytest

from paddock.protocol import Sampling
from paddock.runner.engines.base import Prompt
from paddock.runner.engines.text.answer.answer import Answer
from paddock.runner.engines.text.answer.style import AnswerStyle
from paddock.runner.engines.text.answer.thinking_limit import ThinkingLimit, closing_of
from tests.runner.engines.text.styles import EVERYTHING, THINKING, summary, written

OPENED = replace(THINKING, begins_thinking=True)
HARMONY = AnswerStyle(is_harmony=True)


def decode(tokens) -> str:
    return "".join(map(chr, tokens))


def spoken(style: AnswerStyle, wishes: str, budget: int) -> tuple[list, str]:
    """Frames and text of a model that says its wishes letter by letter, but where it has to say something else."""
    answer = Answer(decode, Prompt(tokens=(1,), sampling=Sampling(), style=style))
    limit = ThinkingLimit(budget, [ord(letter) for letter in closing_of(style)])
    frames, text, waiting = [], "", list(wishes)
    while waiting or limit.prescribed is not None:
        token = ord(waiting.pop(0)) if limit.prescribed is None else limit.prescribed
        text += chr(token)
        frames += answer.add(token)
        limit.took(token, is_thinking=answer.is_thinking)
    return summary([*frames, *answer.finish()]), text


@pytest.mark.parametrize("budget", [1, 3, 9])
def test_thinking_is_closed_after_its_budget_and_the_answer_begins(budget):
    frames, _ = spoken(OPENED, "x" * budget + "yes", budget)

    assert frames == [("thinking", "x" * budget), ("text", "yes")]


def test_thinking_that_ends_in_time_is_left_alone():
    frames, text = spoken(OPENED, "hm</think>yes", 20)

    assert frames == [("thinking", "hm"), ("text", "yes")]
    assert text == "hm</think>yes"


def test_an_answer_has_no_limit():
    frames, _ = spoken(THINKING, "x" * 100, 3)

    assert frames == [("text", "x" * 100)]


def test_thinking_that_the_model_opens_itself_is_bounded_too():
    frames, text = spoken(THINKING, "<think>abcde", 4)

    assert text == "<think>abc</think>de"  # the mark's last letter is the first after which it thinks
    assert frames == [("thinking", "abc"), ("text", "de")]


def test_thinking_after_a_call_has_what_is_left():
    style = replace(EVERYTHING, begins_thinking=True)

    frames, _ = spoken(style, f"abc</think>{written('add', a=1)}<think>defgh", 14)

    # Three letters and seven of the mark are thought, then the last of the other mark.
    assert frames == [("thinking", "abc"), ("call", "add", {"a": 1}), ("thinking", "def"), ("text", "gh")]


def test_channels_go_on_with_the_final_one():
    frames, _ = spoken(HARMONY, "<|channel|>analysis<|message|>abcdef", 4)

    assert frames == [("thinking", "abc"), ("text", "def")]


def test_headers_of_channels_are_no_thinking():
    frames, _ = spoken(HARMONY, "<|channel|>final<|message|>yes", 2)

    assert frames == [("text", "yes")]


def test_nobody_may_choose_ahead_when_the_next_token_but_one_may_be_forced():
    limit = ThinkingLimit(3, [7, 8])
    near = []
    for token in (1, 2, 3, 7, 8, 9):
        near.append((limit.is_near, limit.prescribed))
        limit.took(token, is_thinking=token < 8)

    assert near == [(False, None), (False, None), (True, None), (True, 7), (True, 8), (False, None)]


def test_a_token_that_was_chosen_ahead_does_not_upset_the_closing():
    limit = ThinkingLimit(1, [7, 8])
    limit.took(1, is_thinking=True)
    for token in (7, 8):
        limit.took(token, is_thinking=False)
    limit.took(1, is_thinking=True)  # it thinks again, with nothing left

    limit.took(2, is_thinking=True)

    assert limit.prescribed == 7


def test_a_model_that_does_not_think_has_nothing_to_close():
    assert closing_of(AnswerStyle()) == ""
