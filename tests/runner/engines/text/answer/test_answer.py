from dataclasses import replace

from paddock.protocol import Sampling, Text, Thinking, TokenLogprobs, ToolCall
from paddock.runner.engines.base import Prompt
from paddock.runner.engines.text.answer.answer import Answer
from paddock.runner.engines.text.answer.style import AnswerStyle
from tests.runner.engines.text.styles import EVERYTHING, THINKING, summary, written

PLAIN = AnswerStyle()
HIDDEN = replace(THINKING, hides_thinking=True)


def decode(tokens) -> str:
    return "".join(map(chr, tokens))


def answer_in(style: AnswerStyle = PLAIN, **sampling) -> Answer:
    return Answer(decode, Prompt(tokens=(1,), sampling=Sampling(**sampling), style=style))


def said(answer: Answer, text: str) -> list:
    """All frames of a text of which each letter is a token."""
    frames = [frame for letter in text if not answer.is_stopped for frame in answer.add(ord(letter))]
    return [*frames, *answer.finish()]


def likely(letter: str) -> TokenLogprobs:
    return TokenLogprobs(token=letter, logprob=-1.0)


def told_with_logprobs(answer: Answer, text: str) -> list[tuple[str, str]]:
    """What each frame says, and of which tokens it tells how likely they were."""
    frames = [frame for letter in text for frame in answer.add(ord(letter), likely(letter))] + answer.finish()
    return [
        (frame.content, "".join(token.token for token in frame.logprobs))
        for frame in frames
        if isinstance(frame, Text | Thinking)
    ]


def test_a_plain_answer_is_text_token_by_token():
    answer = answer_in()

    assert answer.add(ord("a")) == [Text(content="a")]
    assert answer.is_constrained
    assert answer.finish() == []


def test_thinking_calls_and_text_come_as_frames_of_their_own():
    frames = said(answer_in(EVERYTHING), f"<think>Hm</think>Yes{written('add', a=1)}")

    assert summary(frames) == [("thinking", "Hm"), ("text", "Yes"), ("call", "add", {"a": 1})]
    [call] = [frame for frame in frames if isinstance(frame, ToolCall)]
    assert call.id.startswith("call_")


def test_thinking_that_nobody_wants_is_not_told():
    assert summary(said(answer_in(HIDDEN), "<think>Hm</think>Yes")) == [("text", "Yes")]


def test_an_answer_may_end_with_its_first_call():
    style = replace(EVERYTHING, ends_with_call=True)
    call = written("add", a=1)
    answer = answer_in(style)

    frames = said(answer, f"Yes{call}{call}No")

    assert summary(frames) == [("text", "Yes"), ("call", "add", {"a": 1})]
    assert answer.is_stopped


def test_of_calls_that_come_at_once_the_first_one_ends_the_answer():
    style = replace(EVERYTHING, ends_with_call=True)
    calls = f"{written('add', a=1)}{written('add', a=2)}No"
    answer = Answer(lambda _tokens: calls, Prompt(tokens=(1,), sampling=Sampling(), style=style))

    assert summary([*answer.add(1), *answer.finish()]) == [("call", "add", {"a": 1})]


def test_a_grammar_begins_after_the_thinking():
    answer = answer_in(replace(THINKING, begins_thinking=True))
    constrained = []
    for letter in "a</think>b":
        constrained.append(answer.is_constrained)
        answer.add(ord(letter))

    assert constrained == [False] * 9 + [True]


def test_a_stop_string_ends_the_answer_wherever_it_comes():
    assert summary(said(answer_in(EVERYTHING, stop=("STOP",)), "<think>aSTOPb</think>c")) == [("thinking", "a")]
    assert summary(said(answer_in(EVERYTHING, stop=("nk>b",)), "<think>a</think>b")) == [("thinking", "a</thi")]
    assert summary(said(answer_in(EVERYTHING, stop=("STOP",)), "<think>a</think>bSTOPc")) == [
        ("thinking", "a"),
        ("text", "b"),
    ]


def test_each_frame_tells_how_likely_its_tokens_were():
    assert told_with_logprobs(answer_in(), "ab") == [("a", "a"), ("b", "b")]


def test_tokens_that_are_held_back_come_with_the_next_frame():
    assert told_with_logprobs(answer_in(stop=("ab!",)), "xabc") == [("x", "x"), ("abc", "abc")]
    assert told_with_logprobs(answer_in(THINKING), "<think>ab</think>c") == [
        ("a", "<think>a"),
        ("b", "b"),
        ("c", "</think>c"),
    ]


def test_tokens_without_text_are_told_at_the_end():
    assert told_with_logprobs(answer_in(THINKING), "<think>a</think>") == [("a", "<think>a"), ("", "</think>")]


def test_tokens_of_a_stop_string_and_of_hidden_thinking_are_no_part_of_the_answer():
    assert told_with_logprobs(answer_in(stop=("bc",)), "abc") == [("a", "a")]
    told = told_with_logprobs(answer_in(HIDDEN), "<think>Hm</think>c")
    assert [content for content, _ in told] == ["c"]
    assert "H" not in told[0][1]


def test_without_being_asked_for_there_are_no_likelihoods():
    assert all(frame.logprobs == () for frame in said(answer_in(THINKING), "<think>a</think>b"))
