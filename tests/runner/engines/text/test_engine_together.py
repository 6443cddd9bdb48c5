"""Many requests in one engine: what each of them gets must not depend on the others."""

from __future__ import annotations

import gc
import random
from collections import defaultdict
from dataclasses import replace

import mlx.core as mx
import numpy as np
import psutil
import pytest

from paddock.errors import BadRequest, InvalidOption
from paddock.protocol import Activity, CompletionRequest, Done, Failed, PromptProgress, Sampling, Text
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.text.decoding import Decoder
from paddock.runner.engines.text.engine import TextEngine
from paddock.runner.engines.text.grammar.lexicon import tokens_of
from tests.runner.running import drained, run
from tests.runner.tiny import TinyShape, make_tiny_model

GREEDY = Sampling(temperature=0.0, num_predict=12)


def loaded(folder, *, on_device=False, **options) -> TextEngine:
    engine = TextEngine(EngineOptions(folder, **{"num_ctx": 512, "parallel": 4, **options}))
    engine.load(lambda _progress: None)
    if on_device:  # an accelerator's way of choosing tokens runs on any device
        model = engine._model
        judge = engine._decoding._judge
        engine._decoder = Decoder(model.model, model.vocabulary, merges=True, on_device=True, judge=judge)
    return engine


@pytest.fixture(scope="module", params=[False, True], ids=["chosen on the host", "chosen on the device"])
def engine(tiny_model, request) -> TextEngine:
    return loaded(tiny_model, on_device=request.param)


def asked(number: int) -> CompletionRequest:
    """Requests of all kinds, the same one for the same number."""
    source = random.Random(number)
    prompt = "".join(source.choices("abcdefgh ", k=source.choice([1, 2, 9, 30, 75])))
    sampling = Sampling(
        temperature=source.choice([0.0, 0.0, 0.7, 1.5]),
        top_k=source.choice([0, 5, 40]),
        top_p=source.choice([0.8, 1.0]),
        repeat_penalty=source.choice([1.0, 1.0, 1.3]),
        seed=number,
        num_predict=source.randint(1, 25),
        logprobs=source.random() < 0.3,
        top_logprobs=source.choice([0, 3]),
        stop=source.choice([(), (), ("e", "##")]),
    )
    return CompletionRequest(prompt=prompt, sampling=sampling, return_context=True)


def outcome(frames: list) -> tuple:
    *rest, done = frames
    assert isinstance(done, Done), done
    text = "".join(frame.content for frame in rest if isinstance(frame, Text))
    return done.context, done.reason, done.eval_count, text


def logprobs_of(frames: list) -> list:
    return [each for frame in frames if isinstance(frame, Text) for each in frame.logprobs]


def test_requests_that_come_and_go_at_any_time_get_what_they_would_get_alone(engine):
    numbers = range(24)
    alone = {number: outcome(run(engine, asked(number))[0]) for number in numbers}
    source, left, frames, gone = random.Random(2), list(numbers), defaultdict(list), set()
    while left or engine.has_work:
        while left and source.random() < 0.4:
            number = left.pop()
            engine.submit(number, engine.prepare(asked(number)))
            if source.random() < 0.2:
                gone.add(number)
        for number in list(gone - set(frames)):
            if source.random() < 0.3:
                engine.cancel(number)
                frames[number].append("cancelled")
        for number, frame in engine.step():
            frames[number].append(frame)

    stayed = [number for number in numbers if "cancelled" not in frames[number]]
    assert len(stayed) > 15
    assert {number: outcome(frames[number]) for number in stayed} == {number: alone[number] for number in stayed}


def test_a_sequence_that_is_cancelled_makes_no_more_frames_and_frees_its_place_at_once(engine):
    for number in range(6):
        engine.submit(number, engine.prepare(CompletionRequest(prompt="abc", sampling=GREEDY, client=f"{number}")))
    for _ in range(5):
        engine.step()
    engine.cancel(0)
    engine.cancel(1)
    engine.cancel(5)

    frames = drained(engine)

    assert sorted(frames) == [2, 3, 4]
    assert all(isinstance(each[-1], Done) for each in frames.values())


def test_clients_take_turns_for_a_free_place(tiny_model):
    engine = loaded(tiny_model, parallel=1)
    order = []
    for number, client in enumerate("aaaba"):
        request = CompletionRequest(prompt="abc", sampling=GREEDY, client=client)
        engine.submit(number, engine.prepare(request))
    while engine.has_work:
        order += [number for number, frame in engine.step() if isinstance(frame, Done)]

    assert order == [0, 3, 1, 2, 4]


def test_a_stream_gets_a_token_in_every_step_while_a_long_prompt_is_read(tmp_path):
    engine = loaded(make_tiny_model(tmp_path, TinyShape(context=8192)), num_ctx=8192, num_batch=64)
    stream = Sampling(temperature=0.0, num_predict=400)
    engine.submit(1, engine.prepare(CompletionRequest(prompt="abc", sampling=stream)))
    engine.step()
    engine.submit(2, engine.prepare(CompletionRequest(prompt="x" * 3000, sampling=GREEDY)))
    gaps, steps, is_read = [], 0, False
    while not is_read:
        before = engine.tokens_generated
        frames = engine.step()
        steps += 1
        gaps.append(engine.tokens_generated - before)
        is_read = any(isinstance(frame, PromptProgress) and frame.done == frame.total for _, frame in frames)
    drained(engine)

    assert steps > 3, "the prompt was read in one go"
    assert min(gaps) >= 1


def test_short_prompts_do_not_wait_for_the_end_of_another_clients_long_one(tmp_path):
    engine = loaded(make_tiny_model(tmp_path, TinyShape(context=8192)), num_ctx=8192, num_batch=64)
    engine.submit(1, engine.prepare(CompletionRequest(prompt="x" * 4000, sampling=GREEDY, client="a")))
    engine.submit(2, engine.prepare(CompletionRequest(prompt="abc", sampling=GREEDY, client="b")))
    done = []
    while engine.has_work:
        done += [number for number, frame in engine.step() if isinstance(frame, Done)]

    assert done == [2, 1]


def test_the_engine_says_what_its_next_step_may_do(tiny_model):
    engine = loaded(tiny_model, num_batch=16)
    engine.submit(1, engine.prepare(CompletionRequest(prompt="x" * 40, sampling=GREEDY)))
    seen = []
    while engine.has_work:
        seen.append(engine.activity)
        engine.step()

    assert seen[:3] == [Activity.PROMPT] * 3
    assert set(seen[3:]) == {Activity.DECODE}


def test_the_meter_counts_all_sequences_and_even_those_of_a_single_step(tiny_model):
    engine = loaded(tiny_model)
    run(engine, *[CompletionRequest(prompt="abc", sampling=Sampling(num_predict=1))] * 3)

    memory = engine.memory()

    assert memory.longest_tokens == 4
    assert memory.most_sequences >= 1


def test_a_bias_for_a_token_that_does_not_exist_never_reaches_the_batch(engine):
    with pytest.raises(InvalidOption, match="258 tokens"):
        engine.prepare(CompletionRequest(prompt="abc", sampling=Sampling(logit_bias={258: 1.0})))


# ---- errors ----


def test_an_error_in_the_batch_fails_all_in_it_and_the_engine_goes_on(engine, monkeypatch):
    def broken(_tokens: mx.array) -> mx.array:
        raise RuntimeError("[matmul] shapes")

    for number in range(3):
        engine.submit(number, engine.prepare(CompletionRequest(prompt="abc", sampling=GREEDY)))
    engine.step()
    with monkeypatch.context() as patch:
        patch.setattr(engine._decoder._batch, "forward", broken)
        frames = drained(engine)

    assert [each[-1].code for _, each in sorted(frames.items())] == ["runner"] * 3
    assert all(isinstance(each[-1], Failed) for each in frames.values())
    [again] = run(engine, CompletionRequest(prompt="abc", sampling=GREEDY))
    assert isinstance(again[-1], Done)


def test_logits_that_are_no_numbers_fail_the_request(engine, monkeypatch):
    forward = engine._decoder._batch.forward
    monkeypatch.setattr(engine._decoder._batch, "forward", lambda tokens: forward(tokens) * float("nan"))

    [frames] = run(engine, CompletionRequest(prompt="abc", sampling=GREEDY))

    assert isinstance(frames[-1], Failed)
    assert frames[-1].message.startswith("The model found no token")


# ---- constraints ----


class Letters:
    """Allows a few letters, and is finished after so many of them."""

    is_for_calls = False
    before = None

    def __init__(self, engine: TextEngine, letters: str, count: int, error: BadRequest | None = None) -> None:
        ids = [token for token in range(256) if engine.detokenize([token]) in letters]
        bits = np.zeros(258, dtype=np.uint8)
        bits[ids] = 1
        self.row = np.packbits(np.pad(bits, (0, 30)), bitorder="little").view(np.uint32)
        self.left = count
        self.error = error

    @property
    def is_finished(self) -> bool:
        return self.left == 0

    def prescribed(self, remaining: int) -> None:
        return None

    def permits(self, token: int) -> bool:
        if self.error is not None and self.left == 1:
            raise self.error
        return token in tokens_of(self.row)

    def allowed(self) -> np.ndarray:
        return self.row

    def accept(self, token: int) -> None:
        assert self.row[token // 32] >> (token % 32) & 1
        self.left -= 1


def test_a_constraint_holds_for_its_own_request_only_and_ends_it(engine):
    free = CompletionRequest(prompt="abc", sampling=GREEDY, return_context=True)
    [expected] = run(engine, free)
    prompt = engine.prepare(CompletionRequest(prompt="abc", sampling=Sampling(seed=1, temperature=2.0, top_k=0)))
    engine.submit(0, engine.prepare(free))
    engine.submit(1, replace(prompt, constraint=Letters(engine, "xyz", 9)))
    engine.submit(2, replace(prompt, constraint=Letters(engine, "q", 3)))
    frames = drained(engine)

    assert outcome(frames[0]) == outcome(expected)
    text = "".join(frame.content for frame in frames[1] if isinstance(frame, Text))
    assert len(text) == 9
    assert set(text) <= set("xyz")
    assert "".join(frame.content for frame in frames[2] if isinstance(frame, Text)) == "qqq"
    assert [frames[number][-1].reason for number in (1, 2)] == ["stop", "stop"]


def test_a_constraint_that_fails_fails_its_request_alone(engine):
    prompt = engine.prepare(CompletionRequest(prompt="abc", sampling=GREEDY))
    engine.submit(0, replace(prompt, constraint=Letters(engine, "xyz", 5, BadRequest("The schema is too complex."))))
    engine.submit(1, prompt)

    frames = drained(engine)

    assert frames[0][-1] == Failed(code="bad_request", message="The schema is too complex.")
    assert isinstance(frames[1][-1], Done)


# ---- logprobs ----


def test_logprobs_are_those_of_the_models_own_distribution(engine):
    options = Sampling(temperature=1.5, seed=4, num_predict=6, logprobs=True, top_logprobs=3, repeat_penalty=1.5)
    others = [asked(number) for number in range(3)]
    frames = run(engine, CompletionRequest(prompt="abc", sampling=options, return_context=True), *others)[0]
    context = frames[-1].context
    logits = np.array(engine._model.model(mx.array([context]))[0].astype(mx.float32)).astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    found = logprobs_of(frames)

    assert len(found) == 6
    for place, each in enumerate(found):
        row, token = expected[2 + place], context[3 + place]
        assert each.logprob == pytest.approx(row[token], abs=1e-4)
        assert bytes(each.bytes).decode(errors="replace") == each.token == engine.detokenize([token])
        assert [likely.logprob for likely in each.top] == pytest.approx(np.sort(row)[::-1][:3].tolist(), abs=1e-4)
        assert [likely.token for likely in each.top] == [engine.detokenize([int(t)]) for t in np.argsort(-row)[:3]]


def test_logprobs_come_only_when_they_are_asked_for(engine):
    one, other = run(
        engine,
        CompletionRequest(prompt="abc", sampling=GREEDY),
        CompletionRequest(prompt="abc", sampling=Sampling(temperature=0.0, num_predict=12, logprobs=True)),
    )

    assert not logprobs_of(one)
    assert len(logprobs_of(other)) == 12
    assert all(not each.top for each in logprobs_of(other))


# ---- what was read before ----


def test_a_prompt_that_was_read_before_is_not_read_again(tiny_model):
    engine = loaded(tiny_model, prefix_cache_bytes=2**22)
    request = CompletionRequest(prompt="so long a prompt " * 8, sampling=GREEDY, return_context=True)

    [first] = run(engine, request)
    [second] = run(engine, request)

    assert first[-1].cached_tokens == 0
    assert second[-1].cached_tokens >= 100
    assert second[-1].prompt_eval_count == first[-1].prompt_eval_count == 136
    assert outcome(second) == outcome(first)
    assert engine.shrink(0) > 0
    [third] = run(engine, request)
    assert third[-1].cached_tokens == 0


@pytest.mark.parametrize("steps", [3, 12])
def test_what_a_cancelled_request_has_read_is_kept(tiny_model, steps):
    engine = loaded(tiny_model, prefix_cache_bytes=2**22, num_batch=16)
    request = CompletionRequest(prompt="so long a prompt " * 8, sampling=GREEDY, return_context=True)
    engine.submit(7, engine.prepare(request))
    for _ in range(steps):
        engine.step()
    engine.cancel(7)
    assert not engine.has_work

    [frames] = run(engine, request)

    assert frames[-1].cached_tokens >= min(16 * steps, 100)
    assert outcome(frames) == outcome(run(loaded(tiny_model), request)[0])


# ---- memory ----


def grown_bytes(engine: TextEngine, requests: int) -> int:
    """How much more memory this process holds after so many requests than after a few hundred."""
    process = psutil.Process()
    for number in range(requests):
        engine.submit(number, engine.prepare(asked(number % 300)))
        if number % 7 == 3:
            engine.cancel(number - 2)
        if number % 5 == 0:
            drained(engine)
        if number == requests // 4:
            gc.collect()
            before_bytes = process.memory_info().rss
    drained(engine)
    gc.collect()
    return process.memory_info().rss - before_bytes


def test_memory_does_not_grow_with_the_number_of_requests(tiny_model):
    assert grown_bytes(loaded(tiny_model, prefix_cache_bytes=2**20), 400) <= 20 * 2**20


@pytest.mark.slow
def test_memory_does_not_grow_over_ten_thousand_requests(tiny_model):
    assert grown_bytes(loaded(tiny_model, prefix_cache_bytes=2**20), 10_000) <= 20 * 2**20
