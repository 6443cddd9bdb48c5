"""What one generation counts, and how it ends."""

from dataclasses import replace

from paddock.protocol import Done, Frame, Sampling
from paddock.runner.engines.base import Prompt
from paddock.runner.engines.text.answer.style import AnswerStyle
from paddock.runner.engines.text.sequence import Sequence, SequenceLimits
from tests.runner.engines.text.styles import EVERYTHING, THINKING, summary, written

END = 0
MARKS = {1: "<think>", 2: "</think>"}


def decode(tokens) -> str:
    return "".join(MARKS.get(token) or chr(token) for token in tokens)


def told(style: AnswerStyle, tokens: list[int]) -> list[Frame]:
    """All frames of an answer of these tokens, up to where it ends."""
    prompt = Prompt(tokens=(50, 51), sampling=Sampling(), style=style)
    sequence = Sequence(1, decode, prompt, SequenceLimits(1000, 64, frozenset({END})))
    sequence.begin([], 0, [])
    sequence.decodes()
    frames: list[Frame] = []
    for token in tokens:
        frames += sequence.add(token, None)
        if sequence.is_finished:
            break
    return frames


def ended(frames: list[Frame]) -> Done:
    assert isinstance(frames[-1], Done)
    return frames[-1]


def test_tokens_of_thinking_are_counted_apart():
    tokens = [1, *b"Hm", 2, *b"Yes", END]

    for style in (THINKING, replace(THINKING, hides_thinking=True)):
        done = ended(told(style, tokens))
        assert (done.eval_count, done.thinking_tokens) == (7, 4)
    assert ended(told(AnswerStyle(), tokens)).thinking_tokens == 0


def test_the_call_that_ends_an_answer_is_its_last_token():
    call = written("add", a=1)
    frames = told(replace(EVERYTHING, ends_with_call=True), [*f"{call}{call}".encode(), END])

    assert summary(frames[:-1]) == [("call", "add", {"a": 1})]
    assert (ended(frames).reason, ended(frames).eval_count) == ("stop", len(call))
