from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.protocol import Text, Thinking
from paddock.runner.engines.text.answer import tool_calls
from paddock.runner.engines.text.answer.marked_text import MarkedText
from tests.runner.engines.text.styles import EVERYTHING, HERMES, MISTRAL, THINKING, summary, written


def read(style, *pieces):
    reading = MarkedText(style)
    frames = [frame for piece in pieces for frame in reading.feed(piece)]
    return summary([*frames, *reading.finish()])


CASES = {
    "text alone": ("Hello.", [("text", "Hello.")]),
    "thinking first": ("<think>\nHm.\n</think>\n\nYes. ", [("thinking", "Hm."), ("text", "Yes. ")]),
    "white space before thinking": ("\n <think>a</think>b", [("thinking", "a"), ("text", "b")]),
    "an empty thought": ("<think>\n\n</think>\n\nYes.", [("text", "Yes.")]),
    "thinking that never ends": ("<think>Hm", [("thinking", "Hm")]),
    "thinking between calls": (
        f"{written('add', a=1)}<think>so</think>ok",
        [("call", "add", {"a": 1}), ("thinking", "so"), ("text", "ok")],
    ),
    "its mark in the middle of an answer": ("Write <think> first.", [("text", "Write <think> first.")]),
    "an end that nothing began": ("So.</think>\nYes.", [("text", "So.Yes.")]),
    "a second beginning": ("<think><think>a</think>b", [("thinking", "a"), ("text", "b")]),
    "a call": (written("add", a=1, b=2), [("call", "add", {"a": 1, "b": 2})]),
    "words before and after a call": (
        f"I add.\n\n{written('add', a=1)}\nDone.",
        [("text", "I add."), ("call", "add", {"a": 1}), ("text", "Done.")],
    ),
    "two calls": (
        f"{written('add', a=1)}\n{written('weather', city='Bern')}",
        [("call", "add", {"a": 1}), ("call", "weather", {"city": "Bern"})],
    ),
    "a call without an end that is whole": (written("add", a=1)[:-12], [("call", "add", {"a": 1})]),
    "a call that is cut off": (written("add", a=1)[:-15], [("text", written("add", a=1)[:-15])]),
    "a call that is no JSON": ("<tool_call>{add}</tool_call>.", [("text", "<tool_call>{add}</tool_call>.")]),
    "a call of what was not offered": (f"a {written('rm')}", [("text", f"a {written('rm')}")]),
    "a call that ends the thinking": (
        f"<think>I add.{written('add')}Done.",
        [("thinking", "I add."), ("call", "add", {}), ("text", "Done.")],
    ),
    "what looks like a call in a thought": (
        "<think>a <tool_call>x</tool_call> b</think>c",
        [("thinking", "a <tool_call>x</tool_call> b"), ("text", "c")],
    ),
    "half a mark at the end": ("a</thin", [("text", "a</thin")]),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_an_answer_is_told_apart(text, expected):
    assert read(EVERYTHING, text) == expected


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_it_does_not_matter_how_the_text_was_cut_into_pieces(text, expected):
    assert read(EVERYTHING, *text) == expected
    assert all(read(EVERYTHING, text[:cut], text[cut:]) == expected for cut in range(len(text)))


def test_thinking_that_the_prompt_has_opened():
    assert read(replace(THINKING, begins_thinking=True), "\nHm.</think>", "Yes.") == [
        ("thinking", "Hm."),
        ("text", "Yes."),
    ]


def test_calls_are_words_like_any_other_where_no_tools_were_offered():
    assert read(THINKING, written("add")) == [("text", written("add"))]


def test_calls_without_an_end_mark_end_with_the_answer():
    style = replace(EVERYTHING, tool_syntax=MISTRAL)

    assert read(style, 'Well.[TOOL_CALLS]add[ARGS]{"a": 1}', '[TOOL_CALLS]weather[ARGS]{"city": "x"}') == [
        ("text", "Well."),
        ("call", "add", {"a": 1}),
        ("call", "weather", {"city": "x"}),
    ]
    assert read(style, '[TOOL_CALLS]add[ARGS]{"a": 1') == [("text", '[TOOL_CALLS]add[ARGS]{"a": 1')]


def test_other_marks_are_left_out():
    assert read(replace(THINKING, left_out=("<|sep|>",)), "a<|se", "p|>b") == [("text", "ab")]


def test_text_is_told_at_once_unless_it_may_begin_a_mark():
    reading = MarkedText(EVERYTHING)

    assert reading.feed("a b") == [Text(content="a b")]
    assert reading.feed("<") == []
    assert reading.feed("b> ") == [Text(content="<b>")]
    assert reading.feed("c</th") == [Text(content=" c")]


def test_what_is_thought_is_no_answer():
    reading = MarkedText(EVERYTHING)
    assert reading.is_answering

    assert reading.feed("<think>Hm") == [Thinking(content="Hm")]
    assert not reading.is_answering
    assert reading.feed("</think>") == []
    assert reading.is_answering


def test_a_call_without_an_end_does_not_grow_for_ever(monkeypatch):
    monkeypatch.setattr(tool_calls, "MAX_CALL_CHARACTERS", 100)
    monkeypatch.setattr("paddock.runner.engines.text.answer.marked_text.MAX_CALL_CHARACTERS", 100)
    text = "<tool_call>" + "x" * 120
    reading = MarkedText(EVERYTHING)

    assert summary(reading.feed(text)) == [("text", text)]
    assert summary([*reading.feed(" y"), *reading.finish()]) == [("text", " y")]


PIECES = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "\n", " ", "a", "<", "</", "{", "<t", "hink>"),
    '{"name": "add", "arguments": {}}',
]


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.booleans())
def test_no_answer_breaks_it_and_pieces_never_matter(pieces, begins):
    style = replace(EVERYTHING, begins_thinking=begins)
    text = "".join(pieces)

    whole = read(style, text)

    assert read(style, *pieces) == whole
    assert read(style, *text) == whole


@given(st.text(alphabet="ab \n"))
def test_text_without_marks_is_left_as_it_is(text):
    assert read(EVERYTHING, text) == ([("text", text)] if text else [])


def test_the_hermes_syntax_is_the_librarys():
    assert (HERMES.start, HERMES.end) == ("<tool_call>", "</tool_call>")
