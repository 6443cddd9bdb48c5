"""What a conversation may ask of the engine beside an answer: bounded thinking, a beginning, what is known of the
prompt and of the end."""

import pytest

from paddock.errors import BadRequest, ContextTooLong, Unsupported
from paddock.protocol import ChatMessage, ChatRequest, Done, PromptProgress, Sampling, Text, Thinking
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.text.decoding import Decoder
from paddock.runner.engines.text.engine import TextEngine
from tests.runner.running import run

GREEDY = Sampling(temperature=0.0, num_predict=40)
PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}<assistant>"
OPENS = PLAIN + "<think>\n{# </think> #}"
HARMONY = PLAIN + "{# <|channel|><|message|> #}"


@pytest.fixture(scope="module", params=[False, True], ids=["host", "device"])
def engine(tiny_model, request) -> TextEngine:
    engine = TextEngine(EngineOptions(tiny_model, num_ctx=256, parallel=3, prefix_cache_bytes=1 << 20))
    engine.load(lambda _progress: None)
    if request.param:  # an accelerator's way of choosing tokens runs on any device
        model = engine._model
        engine._decoder = Decoder(model.model, model.vocabulary, merges=True, on_device=True)
    return engine


def asked(content: str = "Hi", **fields) -> ChatRequest:
    return ChatRequest(**{"messages": (ChatMessage(role="user", content=content),), "sampling": GREEDY, **fields})


def said(frames: list, kind: type = Text) -> str:
    return "".join(frame.content for frame in frames if isinstance(frame, kind))


# ---- thinking ----


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_thinking_is_closed_when_its_budget_is_used_up(engine, temperature):
    sampling = Sampling(temperature=temperature, seed=3, num_predict=40)
    thinker = asked(template=OPENS, think=True, sampling=sampling)
    bounded = asked(template=OPENS, think=True, sampling=sampling, thinking_budget=5)

    [endless] = run(engine, thinker)
    [closed] = run(engine, bounded)

    assert said(endless) == ""
    thought = said(closed, Thinking)
    assert 0 < len(thought) <= 5
    assert said(endless, Thinking).startswith(thought)
    assert said(closed)
    assert closed[-1].eval_count == 40
    assert 27 - said(closed).count(" ") <= len(said(closed)) <= 27  # the mark takes eight, one for each letter


def test_a_bound_on_one_answer_changes_no_other(engine):
    other = asked("Tell me", sampling=Sampling(temperature=0.9, seed=5, num_predict=30))
    bounded = asked(template=OPENS, think=True, thinking_budget=4)

    [alone] = run(engine, other)
    [beside, closed] = run(engine, other, bounded)

    assert said(beside) == said(alone)
    assert said(closed)


def test_a_bound_that_is_never_reached_changes_nothing(engine):
    [free] = run(engine, asked(template=OPENS, think=True))
    [bounded] = run(engine, asked(template=OPENS, think=True, thinking_budget=1000))

    assert said(free, Thinking) == said(bounded, Thinking) != ""


# ---- answers that have begun ----


def test_an_answer_goes_on_where_it_was_begun(engine):
    [whole] = run(engine, asked(template=PLAIN))
    text = said(whole)
    [rest] = run(engine, asked(template=PLAIN, prefill=text[:7], sampling=Sampling(temperature=0.0, num_predict=33)))

    assert text[:7] + said(rest) == text


def test_an_answer_that_has_begun_was_not_thought_about(engine):
    begun = asked(template=OPENS, think=False, prefill="Yes,")

    assert engine.render(begun) == "Hi<assistant><think>\n\n</think>\n\nYes,"


def test_a_model_without_a_template_has_the_beginning_in_a_paragraph_of_its_own(engine):
    begun = asked(template="{{ messages[0].content }}:", prefill="Yes")

    assert engine.render(begun) == "Hi:Yes"


def test_an_answer_in_channels_cannot_be_begun(engine):
    with pytest.raises(Unsupported, match="writes its answers in channels"):
        engine.render(asked(template=HARMONY, prefill="Yes"))


# ---- what is told ----


def test_who_wants_to_know_is_told_first_how_long_the_prompt_is(engine):
    wanted = asked("How long is this prompt, and how much of it is known?", template=PLAIN, tells_prompt=True)
    length = engine.count(wanted)

    [first] = run(engine, wanted)
    [again] = run(engine, wanted)
    [untold] = run(engine, asked(template=PLAIN))

    assert first[0] == PromptProgress(done=first[-1].cached_tokens, total=length)
    assert first[-1].prompt_eval_count == length
    assert again[0] == PromptProgress(done=again[-1].cached_tokens, total=length)
    assert again[-1].cached_tokens > first[-1].cached_tokens
    assert not any(isinstance(frame, PromptProgress) for frame in untold)


def test_the_end_tells_which_string_it_was(engine):
    [whole] = run(engine, asked(template=PLAIN))
    stop = said(whole)[5:8]

    [stopped] = run(
        engine, asked(template=PLAIN, sampling=Sampling(temperature=0.0, num_predict=40, stop=("~~~", stop)))
    )

    assert isinstance(stopped[-1], Done)
    assert (stopped[-1].reason, stopped[-1].stop_string) == ("stop", stop)
    assert whole[-1].stop_string == ""


@pytest.mark.parametrize("fields", [{}, {"prefill": "Yes"}, {"context": (1, 2, 3)}, {"template": OPENS, "think": True}])
def test_what_is_counted_is_what_is_read(engine, fields):
    wanted = asked(**{"template": PLAIN, **fields})

    assert engine.count(wanted) == len(engine.prepare(wanted).tokens)


def test_a_prompt_that_is_too_long_is_counted_all_the_same(engine):
    long = asked("x" * 300, template=PLAIN, truncate=False)

    with pytest.raises(ContextTooLong):
        engine.prepare(long)
    assert engine.count(long) == 300 + len("<assistant>")


def test_what_has_no_prompt_has_no_count(engine):
    with pytest.raises(BadRequest):
        engine.count(asked(context=(100_000,)))
