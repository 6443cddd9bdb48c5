"""Generations with a draft model: the same texts, whatever the draft is worth, and the same end."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from paddock import demo
from paddock.errors import UnsupportedModel
from paddock.protocol import CompletionRequest, Done, Sampling, Text
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.text.engine import TextEngine
from paddock.runner.engines.text.speculation.policy import Policy
from paddock.runner.engines.text.speculation.speculator import Speculator
from tests.runner.engines.text.speculation.drafts import perturbed
from tests.runner.running import run
from tests.runner.tiny import TinyShape, byte_tokenizer, make_tiny_model, save_tokenizer


class Always(Policy):
    """Foresees as many tokens at a time as it is made for, whatever that brings."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.fixed = depth
        self.judged: Counter[bool] = Counter()
        self.passes = 0

    def depth(self, most: int) -> int:
        self.passes += 1
        return min(self.fixed, most)

    @property
    def is_plain_due(self) -> bool:
        return not self._plain

    def was_judged(self, *, stands: bool) -> None:
        self.judged[stands] += 1


@pytest.fixture(scope="module")
def drafts(tiny_model, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("drafts")
    return {
        "itself": tiny_model,
        "similar": perturbed(tiny_model, folder / "similar", 0.04),
        "stranger": perturbed(tiny_model, folder / "stranger", 1.0),
    }


def loaded(model: Path, draft: Path | None, depth: int = 4, **options: int) -> TextEngine:
    engine = TextEngine(EngineOptions(model, **{"num_ctx": 512, **options}, draft_path=draft))
    engine.load(lambda _progress: None)
    if draft is not None:
        speculator = engine._decoding._speculator
        assert isinstance(speculator, Speculator)
        speculator._policy = Always(depth)
    return engine


def policy_of(engine: TextEngine) -> Always:
    return engine._decoding._speculator._policy


def asked(prompt: str = "hello there", **sampling: object) -> CompletionRequest:
    return CompletionRequest(
        prompt=prompt, sampling=Sampling(**{"temperature": 0.0, "num_predict": 40, **sampling}), return_context=True
    )


def text_of(frames: list) -> str:
    return "".join(frame.content for frame in frames if isinstance(frame, Text))


@pytest.fixture(scope="module")
def plain(tiny_model) -> TextEngine:
    return loaded(tiny_model, None, parallel=3)


@pytest.mark.parametrize(("name", "least", "most"), [("itself", 0.99, 1), ("similar", 0.3, 0.99), ("stranger", 0, 0.2)])
def test_greedy_text_is_the_same_whatever_the_draft_is_worth(plain, tiny_model, drafts, name, least, most):
    engine = loaded(tiny_model, drafts[name], depth=3)

    [found] = run(engine, asked(num_predict=200))
    [expected] = run(plain, asked(num_predict=200))

    assert found[-1].context == expected[-1].context
    assert (found[-1].eval_count, found[-1].reason) == (200, "length")
    judged = policy_of(engine).judged
    assert least <= judged[True] / judged.total() <= most


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.8, "seed": 7},
        {"temperature": 1.5, "seed": 7, "top_k": 0, "top_p": 1.0, "min_p": 0.02},
        {"temperature": 0.8, "seed": 7, "repeat_penalty": 1.3, "presence_penalty": 0.5, "repeat_last_n": 16},
        {"temperature": 0.0, "repeat_penalty": 1.3},
        {"temperature": 0.0, "logit_bias": {5: 4.0}},
    ],
    ids=["seeded", "seeded and wide", "seeded with penalties", "greedy with a penalty", "greedy with a bias"],
)
@pytest.mark.parametrize("name", ["itself", "similar"])
def test_a_seed_and_every_option_give_the_text_that_they_give_without_a_draft(
    plain, tiny_model, drafts, name, sampling
):
    engine = loaded(tiny_model, drafts[name])

    [found] = run(engine, asked(num_predict=40, **sampling))
    [expected] = run(plain, asked(num_predict=40, **sampling))

    assert found[-1].context == expected[-1].context
    assert policy_of(engine).judged.total() > 0


def test_likelihoods_are_those_of_the_model_itself(plain, tiny_model, drafts):
    request = asked(num_predict=30, logprobs=True, top_logprobs=3)

    [found] = run(loaded(tiny_model, drafts["similar"]), request)
    [expected] = run(plain, request)

    told = [
        [each for frame in frames if isinstance(frame, Text) for each in frame.logprobs] for frames in (found, expected)
    ]
    assert [each.token for each in told[0]] == [each.token for each in told[1]]
    assert [each.logprob for each in told[0]] == pytest.approx([each.logprob for each in told[1]], abs=1e-3)


def test_an_answer_has_exactly_as_many_tokens_as_it_may(tiny_model, drafts):
    engine = loaded(tiny_model, drafts["itself"])

    for num_predict in range(1, 14):
        [frames] = run(engine, asked(num_predict=num_predict))
        assert (frames[-1].reason, frames[-1].eval_count) == ("length", num_predict)
        assert sum(isinstance(frame, Done) for frame in frames) == 1


def test_a_full_context_ends_the_answer_where_it_would_end_anyway(plain, tiny_model, drafts):
    engine = loaded(tiny_model, drafts["itself"], num_ctx=60)

    [frames] = run(engine, asked("x" * 30, num_predict=-1))
    [expected] = run(loaded(tiny_model, None, num_ctx=60), asked("x" * 30, num_predict=-1))

    assert frames[-1].context == expected[-1].context
    assert frames[-1].eval_count == 30


def test_a_stop_string_among_foreseen_tokens_ends_the_answer_there(plain, tiny_model, drafts):
    [whole] = run(plain, asked(num_predict=60))
    stop = text_of(whole)[21:24]

    [found] = run(loaded(tiny_model, drafts["itself"], depth=8), asked(num_predict=60, stop=(stop,)))
    [expected] = run(plain, asked(num_predict=60, stop=(stop,)))

    assert text_of(found) == text_of(expected) == text_of(whole).split(stop)[0]
    assert (found[-1].reason, found[-1].eval_count) == ("stop", expected[-1].eval_count)


def test_an_end_token_among_foreseen_ones_ends_the_answer(tmp_path):
    model = make_tiny_model(tmp_path, TinyShape(ends=True))
    request = asked("hello", num_predict=-1, temperature=3.0, top_k=0, seed=5)

    [found] = run(loaded(model, model), request)
    [expected] = run(loaded(model, None), request)

    assert found[-1].reason == "stop"
    assert found[-1].context == expected[-1].context


def test_what_is_kept_of_an_answer_is_exactly_what_was_said(plain, tiny_model, drafts):
    engine = loaded(tiny_model, drafts["similar"], prefix_cache_bytes=10_000_000)
    [first] = run(engine, asked(num_predict=50))

    follow_up = CompletionRequest(
        prompt=" and then", context=first[-1].context, sampling=asked(num_predict=50).sampling, return_context=True
    )
    [found] = run(engine, follow_up)
    [expected] = run(plain, follow_up)

    assert found[-1].cached_tokens == len(first[-1].context) - 1
    assert found[-1].context == expected[-1].context


def test_sequences_that_come_and_go_beside_it_change_nothing(plain, tiny_model, drafts):
    engine = loaded(tiny_model, drafts["itself"], parallel=3)
    requests = [asked("hello there", num_predict=90), asked("another", num_predict=20), asked("a third", num_predict=8)]
    frames = defaultdict(list)
    engine.submit(0, engine.prepare(requests[0]))
    for steps, late in ((12, 1), (11, 2)):
        for _ in range(steps):
            for request_id, frame in engine.step():
                frames[request_id].append(frame)
        engine.submit(late, engine.prepare(requests[late]))
    while engine.has_work:
        for request_id, frame in engine.step():
            frames[request_id].append(frame)

    for request_id, request in enumerate(requests):
        [expected] = run(plain, request)
        assert frames[request_id][-1].context == expected[-1].context
    assert policy_of(engine).judged[True] > 30


def test_one_that_is_cancelled_with_tokens_foreseen_leaves_nothing_behind(plain, tiny_model, drafts):
    engine = loaded(tiny_model, drafts["itself"], prefix_cache_bytes=10_000_000)
    [expected] = run(plain, asked(num_predict=20))
    for steps in range(3, 10):
        engine.submit(0, engine.prepare(asked(num_predict=100)))
        for _ in range(steps):
            engine.step()
        engine.cancel(0)
        assert not engine.has_work

        [found] = run(engine, asked(num_predict=20))

        assert found[-1].context == expected[-1].context


def test_another_text_makes_the_draft_forget_what_it_read(plain, tiny_model, drafts):
    engine = loaded(tiny_model, drafts["itself"])

    for prompt in ("a long beginning, and then this", "a long beginning, and then that", "hello", "a long beginning"):
        [found] = run(engine, asked(prompt))
        [expected] = run(plain, asked(prompt))
        assert found[-1].context == expected[-1].context

    judged = policy_of(engine).judged
    assert judged[True] > 100
    assert not judged[False]


def test_a_long_prompt_is_read_by_the_draft_while_the_answer_begins(plain, tiny_model, drafts):
    engine = loaded(tiny_model, drafts["itself"])

    [found] = run(engine, asked("x" * 300, num_predict=100))
    [expected] = run(plain, asked("x" * 300, num_predict=100))

    assert found[-1].context == expected[-1].context
    assert policy_of(engine).judged[True] > 20


def test_a_draft_with_other_tokens_is_refused(tiny_model, tmp_path):
    other = perturbed(tiny_model, tmp_path / "other", 0.0)
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["hello"])
    save_tokenizer(other, tokenizer)

    with pytest.raises(UnsupportedModel, match="tokenizer is not the model's own"):
        loaded(tiny_model, other)


NAME = {"type": "string", "minLength": 20, "maxLength": 60}
SCHEMA = json.dumps({"type": "object", "properties": {"name": NAME}, "required": ["name"]})


@pytest.mark.parametrize("seed", [1, 2])
def test_a_schema_is_obeyed_token_by_token(seed):
    sampling = Sampling(temperature=0.9, seed=seed, num_predict=60)
    request = CompletionRequest(prompt="hello", sampling=sampling, answer_schema=SCHEMA, return_context=True)

    engine = loaded(demo.model_folder(), demo.model_folder())
    [found] = run(engine, request)
    [expected] = run(loaded(demo.model_folder(), None), request)

    assert policy_of(engine).judged[True] > 0
    assert json.loads(text_of(found)).keys() == {"name"}
    assert text_of(found) == text_of(expected)
