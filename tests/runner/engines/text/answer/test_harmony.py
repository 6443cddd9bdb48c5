import pytest

from paddock.protocol import Text, Thinking
from paddock.runner.engines.text.answer import harmony
from paddock.runner.engines.text.answer.harmony import HarmonyText
from paddock.runner.engines.text.answer.style import AnswerStyle, ToolSyntax
from tests.runner.engines.text.styles import TOOLS, summary

STYLE = AnswerStyle(is_harmony=True, tool_syntax=ToolSyntax("", "", lambda text, tools: None, TOOLS))
ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
NEXT = "<|end|><|start|>assistant"


def read(*pieces, style=STYLE):
    reading = HarmonyText(style)
    frames = [frame for piece in pieces for frame in reading.feed(piece)]
    return summary([*frames, *reading.finish()])


def call_to(recipient: str, arguments: str) -> str:
    return f"<|channel|>commentary to={recipient} <|constrain|>json<|message|>{arguments}"


CASES = {
    "thinking, then the answer": (
        f"{ANALYSIS}Easy.{NEXT}{FINAL}It is 2.",
        [("thinking", "Easy."), ("text", "It is 2.")],
    ),
    "the answer alone": (f"{FINAL}Yes.", [("text", "Yes.")]),
    "its end as a token that is told": (f"{FINAL}Yes.<|return|>", [("text", "Yes.")]),
    "thinking that is cut off": (f"{ANALYSIS}Eas", [("thinking", "Eas")]),
    "a call, ended by a token that nobody sees": (
        f"{ANALYSIS}I add.{NEXT}" + call_to("functions.add", '{"a": 1, "b": 2}'),
        [("thinking", "I add."), ("call", "add", {"a": 1, "b": 2})],
    ),
    "a call, ended by a token that is told": (
        f"{call_to('functions.add', '{}')}<|call|>",
        [("call", "add", {})],
    ),
    "a recipient before the channel": (
        '<|start|>assistant to=functions.weather<|channel|>commentary json<|message|>{"city": "Bern"}',
        [("call", "weather", {"city": "Bern"})],
    ),
    "a recipient in the analysis": (
        '<|channel|>analysis to=functions.add code<|message|>{"a": 1}',
        [("call", "add", {"a": 1})],
    ),
    "words to the user before a call": (
        f"<|channel|>commentary<|message|>I look.{NEXT}{call_to('functions.add', '{}')}",
        [("text", "I look."), ("call", "add", {})],
    ),
    "two calls": (
        f"{call_to('functions.add', '{}')}<|call|><|start|>assistant{call_to('functions.weather', '{}')}",
        [("call", "add", {}), ("call", "weather", {})],
    ),
    "a call that is cut off": (call_to("functions.add", '{"a": 1'), [("text", '{"a": 1')]),
    "a call of what was not offered": (call_to("browser.search", '{"q": 1}'), [("text", '{"q": 1}')]),
    "a header that never ends": ("<|channel|>anal", []),
    "a message without an end": (
        f"{ANALYSIS}Hm.<|start|>assistant{FINAL}Yes.",
        [("thinking", "Hm."), ("text", "Yes.")],
    ),
    "a header in the middle": (f"{ANALYSIS}Hm.{FINAL}Yes.", [("thinking", "Hm."), ("text", "Yes.")]),
    "no header at all": ("Plainly.", [("text", "Plainly.")]),
    "an unknown channel": ("<|channel|>other<|message|>a", [("text", "a")]),
    "an answer to the user": ("<|channel|>final to=user<|message|>a", [("text", "a")]),
    "nothing": ("", []),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_the_channels_are_told_apart(text, expected):
    assert read(text) == expected


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_it_does_not_matter_how_the_text_was_cut_into_pieces(text, expected):
    assert read(*text) == expected
    assert all(read(text[:cut], text[cut:]) == expected for cut in range(len(text)))


def test_tokens_as_the_model_makes_them():
    tokens = ["<|channel|>", "analysis", "<|message|>", "Let", " me", " see", "<|end|>", "<|start|>", "assistant"]
    tokens += ["<|channel|>", "final", "<|message|>", "It", " is", " 2", "."]
    reading = HarmonyText(STYLE)
    told, answering = [], []
    for token in tokens:
        told.append(reading.feed(token))
        answering.append(reading.is_answering)

    assert told[3:6] == [[Thinking(content="Let")], [Thinking(content=" me")], [Thinking(content=" see")]]
    assert told[12:] == [[Text(content="It")], [Text(content=" is")], [Text(content=" 2")], [Text(content=".")]]
    assert answering == [False] * 11 + [True] * 5


def test_without_tools_a_call_is_text():
    assert read(call_to("functions.add", "{}"), style=AnswerStyle(is_harmony=True)) == [("text", "{}")]


def test_no_header_and_no_call_grows_for_ever(monkeypatch):
    monkeypatch.setattr(harmony, "MAX_CALL_CHARACTERS", 50)
    long = "x" * 600

    assert summary(HarmonyText(STYLE).feed(long)) == [("text", long)]
    assert summary(HarmonyText(STYLE).feed(call_to("functions.add", long))) == [("text", long)]
