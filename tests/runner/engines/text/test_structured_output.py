"""Answers that obey a schema, made by the demo model through the engine, several at once, at temperature 1."""

import json

import msgspec
import pytest

from paddock.errors import BadRequest
from paddock.protocol import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    Done,
    Sampling,
    Text,
    TokenizeRequest,
    ToolCall,
)
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.text.engine import TextEngine
from tests.runner.engines.text.schemas import REAL, drawn
from tests.runner.engines.text.walking import DEMO, check
from tests.runner.running import run

AT_ONCE = 8
BUDGET_TOKENS = 160
QUICK = 60
ALL = 200


@pytest.fixture(scope="module")
def engine() -> TextEngine:
    engine = TextEngine(EngineOptions(DEMO, num_ctx=512, parallel=AT_ONCE))
    engine.load(lambda _progress: None)
    return engine


def text_of(frames: list) -> str:
    return "".join(frame.content for frame in frames if isinstance(frame, Text))


def schemas(count: int) -> list:
    return [*REAL.values(), *(drawn(seed) for seed in range(1000, 1000 + count - len(REAL)))]


def asked(schema: object, seed: int, **sampling: object) -> ChatRequest:
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": seed, "num_predict": BUDGET_TOKENS}
    return ChatRequest(
        messages=(ChatMessage(role="user", content="Tell me about a fox, as JSON."),),
        answer_schema=json.dumps(schema),
        think=False,
        sampling=Sampling(**{**settings, **sampling}),
    )


@pytest.mark.parametrize("count", [QUICK, pytest.param(ALL, marks=pytest.mark.slow)])
def test_every_answer_ends_and_is_valid(engine, count):
    wanted = schemas(count)
    for start in range(0, count, AT_ONCE):
        group = wanted[start : start + AT_ONCE]
        answers = run(engine, *(asked(schema, start + index) for index, schema in enumerate(group)))
        for schema, frames in zip(group, answers, strict=True):
            assert isinstance(frames[-1], Done), frames[-1]
            assert frames[-1].reason == "stop"
            check(schema, json.loads(text_of(frames)))


def test_free_answers_beside_constrained_ones_stay_what_they_are_alone(engine):
    free = CompletionRequest(prompt="The fox", sampling=Sampling(temperature=0.0, num_predict=24))
    [alone] = run(engine, free)

    beside = run(engine, free, *(asked(schema, seed) for seed, schema in enumerate(list(REAL.values())[:3])))

    assert text_of(beside[0]) == text_of(alone)


def test_a_completion_obeys_its_schema_too(engine):
    request = CompletionRequest(
        prompt="The answer is ", answer_schema='{"enum":["yes","no"]}', sampling=Sampling(seed=1, num_predict=20)
    )

    [frames] = run(engine, request)

    assert text_of(frames) in ('"yes"', '"no"')
    assert frames[-1].reason == "stop"


def test_greedy_answers_obey_as_well(engine):
    [frames] = run(engine, asked(REAL["a person"], 0, temperature=0.0))

    check(REAL["a person"], json.loads(text_of(frames)))


def test_a_bad_schema_is_refused_before_anything_runs(engine):
    with pytest.raises(BadRequest, match='"not"'):
        engine.prepare(asked({"not": {}}, 0))

    assert not engine.has_work


def test_a_call_and_a_schema_cannot_be_demanded_at_once(engine):
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    request = ChatRequest(
        messages=(ChatMessage(role="user", content="Look!"),),
        tools=(tool,),
        tool_choice="required",
        answer_schema='{"type":"object"}',
    )

    with pytest.raises(BadRequest):
        engine.prepare(request)


def test_the_tool_that_has_to_be_called_is_called_once(engine: TextEngine) -> None:
    template = (
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}{{ message.content }}"
        "{# <tool_call> tool_call.name #}{% endfor %}"
    )
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    [end] = engine.tokenize(TokenizeRequest(text="<|im_end|>"))

    def demanding(name: str, seed: int) -> ChatRequest:
        return ChatRequest(
            messages=(ChatMessage(role="user", content="Hello"),),
            template=template,
            tools=(tool,),
            tool_choice="required",
            tool_choice_name=name,
            sampling=Sampling(temperature=1.0, seed=seed, num_predict=BUDGET_TOKENS, logit_bias={end: -20.0}),
        )

    named = run(engine, *(demanding("now", seed) for seed in range(4)))
    unnamed = run(engine, *(demanding("", seed) for seed in range(4)))

    assert [len(calls_in(frames)) for frames in named] == [1, 1, 1, 1]
    assert max(len(calls_in(frames)) for frames in unnamed) > 1


def test_a_call_cannot_be_demanded_of_a_model_that_does_not_write_calls_as_json(engine: TextEngine) -> None:
    template = "{{ tools | tojson }}{{ messages[0].content }}{# <tool_call>\n<function= tool_call.name #}"
    tool = {"type": "function", "function": {"name": "now", "strict": True, "parameters": {"type": "object"}}}
    request = ChatRequest(messages=(ChatMessage(role="user", content="Hi"),), template=template, tools=(tool,))

    assert engine.prepare(request).constraint is None
    with pytest.raises(BadRequest, match="cannot be demanded: use tool_choice auto"):
        engine.prepare(msgspec.structs.replace(request, tool_choice="required"))


THINKING = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}{{ message.content }}"
    "{# <tool_call> tool_call.name enable_thinking #}{% endfor %}<think>{# </think> #}"
)


@pytest.mark.parametrize("thinking_budget", [0, 5])
def test_a_model_may_not_end_in_its_thinking_before_the_call_that_is_demanded(
    engine: TextEngine, thinking_budget: int
) -> None:
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    [end] = engine.tokenize(TokenizeRequest(text="<|im_end|>"))
    request = ChatRequest(
        messages=(ChatMessage(role="user", content="Hello"),),
        template=THINKING,
        think=True,
        thinking_budget=thinking_budget,
        tools=(tool,),
        tool_choice="required",
        one_call=True,
        sampling=Sampling(temperature=0.0, num_predict=120, logit_bias={end: 100.0}),
    )

    [frames] = run(engine, request)

    assert frames[-1].reason == "stop"
    assert len(calls_in(frames)) == 1


def calls_in(frames: list) -> list[ToolCall]:
    return [frame for frame in frames if isinstance(frame, ToolCall)]
