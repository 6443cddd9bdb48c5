"""The engine itself, on the tiny model and in this process."""

import json
import shutil
from collections import Counter
from pathlib import Path

import mlx.core as mx
import pytest

from paddock.errors import BadRequest, ContextTooLong, DamagedModel, InvalidOption, UnsupportedModel
from paddock.protocol import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    Done,
    Failed,
    PromptProgress,
    Sampling,
    Text,
    TokenizeRequest,
    TokenLogprobs,
)
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.text.answer.answer import Answer
from paddock.runner.engines.text.engine import TextEngine
from tests.runner.running import run
from tests.runner.tiny import BEGIN_OF_TEXT, END_OF_TEXT, TinyShape, byte_tokenizer, make_tiny_model, save_tokenizer

GREEDY = Sampling(temperature=0.0, num_predict=12)


def loaded(folder: Path, **options: int) -> TextEngine:
    engine = TextEngine(EngineOptions(folder, **{"num_ctx": 512, **options}))
    engine.load(lambda _progress: None)
    return engine


@pytest.fixture(scope="module")
def engine(tiny_model) -> TextEngine:
    return loaded(tiny_model, parallel=3)


def text_of(frames: list) -> str:
    return "".join(frame.content for frame in frames if isinstance(frame, Text))


def user(text: str) -> tuple[ChatMessage, ...]:
    return (ChatMessage(role="user", content=text),)


# ---- generating ----


def test_a_generation_ends_in_exactly_one_done_with_its_counts(engine):
    [frames] = run(engine, CompletionRequest(prompt="hello", sampling=GREEDY))

    *rest, done = frames
    assert all(isinstance(frame, Text) for frame in rest)
    assert isinstance(done, Done)
    assert (done.reason, done.prompt_eval_count, done.eval_count, done.context) == ("length", 5, 12, None)
    assert done.prompt_eval_duration_ns > 0
    assert done.eval_duration_ns > 0


def test_the_text_is_the_decoding_of_the_tokens_and_context_carries_them_all(engine):
    [frames] = run(engine, CompletionRequest(prompt="hello", sampling=GREEDY, return_context=True))

    context = frames[-1].context
    assert engine.detokenize(context[:5]) == "hello"
    assert len(context) == 5 + 12
    assert text_of(frames) == engine.detokenize(context[5:])


def test_a_context_continues_where_it_was_left(engine):
    [whole] = run(engine, CompletionRequest(prompt="hello", sampling=GREEDY, return_context=True))
    half = CompletionRequest(prompt="hello", sampling=Sampling(temperature=0.0, num_predict=6), return_context=True)
    [first] = run(engine, half)
    rest = CompletionRequest(prompt="", context=first[-1].context, sampling=half.sampling, return_context=True)
    [second] = run(engine, rest)

    assert second[-1].context == whole[-1].context


@pytest.mark.parametrize("num_batch", [1, 3, 7, 512])
def test_the_size_of_the_prompts_chunks_does_not_change_the_text(engine, tiny_model, num_batch):
    request = CompletionRequest(prompt="twenty-three characters", sampling=GREEDY, return_context=True)

    [expected] = run(engine, request)
    [found] = run(loaded(tiny_model, num_batch=num_batch), request)

    assert found[-1].context == expected[-1].context


def test_a_long_prompt_reports_its_progress_chunk_by_chunk(tiny_model):
    engine = loaded(tiny_model, num_batch=16)

    [frames] = run(engine, CompletionRequest(prompt="x" * 50, sampling=GREEDY))

    progress = [(frame.done, frame.total) for frame in frames if isinstance(frame, PromptProgress)]
    assert progress == [(16, 50), (32, 50), (48, 50), (50, 50)]


@pytest.mark.parametrize("num_predict", [-1, 0, -2, 10_000])
def test_generation_stops_when_the_context_is_full(tiny_model, num_predict):
    engine = loaded(tiny_model, num_ctx=40)

    [frames] = run(engine, CompletionRequest(prompt="x" * 30, sampling=Sampling(num_predict=num_predict, seed=1)))

    assert (frames[-1].reason, frames[-1].eval_count) == ("length", 10)


def test_the_context_is_never_longer_than_the_model_can_take(tiny_model):
    assert loaded(tiny_model, num_ctx=100_000).context_length == 512


def test_an_end_token_ends_the_text_and_is_neither_shown_nor_counted(tmp_path):
    engine = loaded(make_tiny_model(tmp_path, TinyShape(ends=True)))
    request = CompletionRequest(
        prompt="hello", sampling=Sampling(temperature=3.0, top_k=0, seed=5), return_context=True
    )

    [frames] = run(engine, request)

    end = engine.tokenize(TokenizeRequest(text=END_OF_TEXT))
    assert frames[-1].reason == "stop"
    assert END_OF_TEXT not in text_of(frames)
    assert end[0] not in frames[-1].context
    assert frames[-1].eval_count == len(frames[-1].context) - 5


def test_a_stop_string_ends_the_text_and_is_not_part_of_it(engine):
    [whole] = run(engine, CompletionRequest(prompt="hello", sampling=GREEDY))
    text = text_of(whole)
    stop = text[4:6]
    options = Sampling(temperature=0.0, num_predict=12, stop=("never there", stop))

    [frames] = run(engine, CompletionRequest(prompt="hello", sampling=options))

    assert frames[-1].reason == "stop"
    assert text_of(frames) == text[: text.index(stop)]
    assert frames[-1].eval_count < 12


def test_the_same_seed_gives_the_same_text_whatever_else_runs(engine):
    request = CompletionRequest(prompt="hello", sampling=Sampling(seed=7, num_predict=20), return_context=True)
    others = [CompletionRequest(prompt="other", sampling=Sampling(seed=seed, num_predict=20)) for seed in (1, 2)]

    [alone] = run(engine, request)
    _, _, among_others = run(engine, *others, request)
    reseeded = CompletionRequest(prompt="hello", sampling=Sampling(seed=8, num_predict=20), return_context=True)
    [different] = run(engine, reseeded)

    assert among_others[-1].context == alone[-1].context
    assert different[-1].context != alone[-1].context


# ---- several at once ----


def test_sequences_take_turns_and_the_others_wait_in_order(tiny_model):
    engine = loaded(tiny_model, parallel=2)
    for request_id in range(3):
        engine.submit(request_id, engine.prepare(CompletionRequest(prompt="ab", sampling=GREEDY)))
    order = []
    while engine.has_work:
        order += [request_id for request_id, frame in engine.step() if isinstance(frame, Done)]
        if not order:
            assert engine.tokens_generated <= 24, "the third began while two were active"

    assert order == [0, 1, 2]


def test_a_cancelled_sequence_makes_no_more_tokens_and_leaves_the_others_alone(engine):
    [expected] = run(engine, CompletionRequest(prompt="stay", sampling=GREEDY, return_context=True))
    for request_id, prompt in enumerate(("stay", "leave", "wait", "also wait")):
        request = CompletionRequest(prompt=prompt, sampling=GREEDY, return_context=True)
        engine.submit(request_id, engine.prepare(request))
    frames = []
    for _ in range(9):
        frames += engine.step()
    for request_id in (1, 2, 3, 99):
        engine.cancel(request_id)
    before, later = engine.tokens_generated, []
    while engine.has_work:
        later += engine.step()

    assert {request_id for request_id, _ in later} == {0}
    assert later[-1][1].context == expected[-1].context
    assert engine.tokens_generated - before <= 12


@pytest.mark.parametrize("fails_at", [1, 4])
def test_a_request_that_fails_in_a_step_fails_alone(engine, monkeypatch, fails_at):
    good, bad, memory = (CompletionRequest(prompt=prompt, sampling=GREEDY) for prompt in ("good", "bad", "much"))
    [expected] = run(engine, good)
    errors = {1: ValueError("a shape"), 2: RuntimeError("[malloc] Unable to allocate 8 bytes")}
    add = Answer.add

    def add_or_fail(answer: Answer, token: int, likelihood: TokenLogprobs | None = None) -> list:
        answers.setdefault(answer, len(answers))
        counts[answer] += 1
        if answers[answer] in errors and counts[answer] == fails_at:
            raise errors[answers[answer]]
        return add(answer, token, likelihood)

    answers: dict[Answer, int] = {}
    counts: Counter[Answer] = Counter()
    monkeypatch.setattr(Answer, "add", add_or_fail)
    frames = run(engine, good, bad, memory)

    assert text_of(frames[0]) == text_of(expected)
    assert isinstance(frames[0][-1], Done)
    assert frames[1][-1].code == "runner"
    assert frames[2][-1].code == "out_of_memory"
    assert all(isinstance(each[-1], Failed) for each in frames[1:])
    assert all(isinstance(frame, Text) for each in frames[1:] for frame in each[:-1])


# ---- what is refused ----


def test_an_input_that_fills_the_context_is_refused_in_one_sentence(tiny_model):
    engine = loaded(tiny_model, num_ctx=16)

    engine.prepare(CompletionRequest(prompt="x" * 15))
    with pytest.raises(ContextTooLong) as caught:
        engine.prepare(CompletionRequest(prompt="x" * 16))

    assert caught.value.message == (
        "The input has 16 tokens but the context holds only 16: shorten it or raise num_ctx."
    )


def test_a_completion_may_be_cut_in_the_middle(tiny_model):
    engine = loaded(tiny_model, num_ctx=11)
    request = CompletionRequest(prompt="0123456789abcdef", truncate=True, sampling=Sampling(num_keep=3))

    assert engine.detokenize(engine.prepare(request).tokens) == "0129abcdef"


@pytest.mark.parametrize("num_keep", [-1, 0, 100])
def test_however_much_is_to_be_kept_the_end_of_the_prompt_survives(tiny_model, num_keep):
    engine = loaded(tiny_model, num_ctx=11)
    request = CompletionRequest(prompt="0123456789abcdef", truncate=True, sampling=Sampling(num_keep=num_keep))

    tokens = engine.prepare(request).tokens

    assert len(tokens) == 10
    assert engine.detokenize(tokens)[-1] == "f"


@pytest.mark.parametrize("token", [-1, 258, 2**40])
def test_token_ids_outside_of_the_vocabulary_never_reach_the_model(engine, token):
    with pytest.raises(BadRequest) as caught:
        engine.prepare(CompletionRequest(prompt="x", context=(1, token)))
    assert caught.value.message == f"context holds token id {token}, but this model's vocabulary has 258 tokens."
    with pytest.raises(BadRequest, match="this model's vocabulary"):
        engine.prepare(ChatRequest(messages=user("x"), context=(token,)))
    with pytest.raises(BadRequest, match="this model's vocabulary"):
        engine.detokenize([token])


def test_a_tokenizer_with_more_tokens_than_the_weights_is_noticed(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["zebra"])
    save_tokenizer(folder, tokenizer)
    engine = loaded(folder)

    with pytest.raises(DamagedModel, match="tokenizer"):
        engine.prepare(CompletionRequest(prompt="a zebra"))


def test_an_empty_prompt_is_refused(engine):
    with pytest.raises(BadRequest, match="empty"):
        engine.prepare(CompletionRequest(prompt=""))


def test_options_without_a_meaning_are_refused(engine):
    with pytest.raises(InvalidOption):
        engine.prepare(CompletionRequest(prompt="x", sampling=Sampling(repeat_penalty=0)))


# ---- conversations ----


def test_a_conversation_goes_through_the_models_template(engine):
    request = ChatRequest(messages=(ChatMessage(role="system", content="Be kind."), *user("Hi")))

    assert engine.render(request) == "<system>Be kind.\n<user>Hi\n<assistant>"
    assert engine.detokenize(engine.prepare(request).tokens) == engine.render(request)


def test_a_request_may_bring_its_own_template(engine):
    request = ChatRequest(messages=user("Hi"), template="{{ messages[0].content }}?{{ enable_thinking }}")

    assert engine.render(request) == "Hi?False"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "The chat template refused this conversation: There is no role wizard."),
        ("{% for %}", "The chat template refused this conversation: "),
        ("{{ 1 / 0 }}", "The chat template"),
        ("{{ messages[5].content.strip() }}", "The chat template"),
        ("{{ ().__class__.__bases__[0].__subclasses__() }}", "The chat template"),
    ],
)
def test_what_a_template_refuses_is_one_sentence_for_the_client(engine, template, message):
    with pytest.raises(BadRequest) as caught:
        engine.render(ChatRequest(messages=(ChatMessage(role="wizard", content="Hi"),), template=template))

    assert caught.value.message.startswith(message)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


def test_without_a_template_the_contents_stand_alone(tmp_path):
    engine = loaded(make_tiny_model(tmp_path, TinyShape(chat_template=None)))

    request = ChatRequest(messages=(ChatMessage(role="system", content="Be kind."), *user("Hi")))

    assert engine.render(request) == "Be kind.\n\nHi"


def test_a_long_conversation_loses_its_oldest_messages(tiny_model):
    engine = loaded(tiny_model, num_ctx=64)
    turns = [ChatMessage(role=role, content=f"{role} {index}") for index in range(9) for role in ("user", "assistant")]
    messages = (ChatMessage(role="system", content="S"), *turns, ChatMessage(role="user", content="last"))

    prompt = engine.detokenize(engine.prepare(ChatRequest(messages=messages)).tokens)

    assert prompt == "<system>S\n<assistant>assistant 8\n<user>last\n<assistant>"
    with pytest.raises(ContextTooLong):
        engine.prepare(ChatRequest(messages=messages, truncate=False))


def with_begin_token(folder: Path, template: str | None) -> TextEngine:
    """A tokenizer that begins every text with a token of its own, as Llama's."""
    from tokenizers import processors

    make_tiny_model(folder, TinyShape())
    tokenizer = byte_tokenizer()
    begin = tokenizer.token_to_id(BEGIN_OF_TEXT)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_OF_TEXT} $A", special_tokens=[(BEGIN_OF_TEXT, begin)]
    )
    save_tokenizer(folder, tokenizer, bos_token=BEGIN_OF_TEXT, chat_template=template)
    return loaded(folder)


def test_a_begin_token_comes_once_whoever_writes_it(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    own = with_begin_token(tmp_path / "a", "{{ bos_token }}{{ messages[0].content }}")
    none = with_begin_token(tmp_path / "b", None)
    begin = 257

    assert own.prepare(CompletionRequest(prompt="Hi")).tokens.count(begin) == 1
    assert own.prepare(ChatRequest(messages=user("Hi"))).tokens.count(begin) == 1
    assert none.prepare(ChatRequest(messages=user("Hi"))).tokens.count(begin) == 1
    continued = own.prepare(CompletionRequest(prompt="Hi")).tokens
    assert own.prepare(CompletionRequest(prompt="!", context=continued)).tokens.count(begin) == 1
    assert own.prepare(ChatRequest(messages=user("!"), context=continued)).tokens.count(begin) == 1


# ---- loading ----


def changed(model: Path, folder: Path, **config: object) -> Path:
    shutil.copytree(model, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


def test_progress_of_a_load_only_grows_and_ends_at_one(tiny_model):
    seen = []
    TextEngine(EngineOptions(tiny_model, num_ctx=64)).load(seen.append)

    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("architecture", ["no_such_thing", "olmo", "../llama", ""])
def test_an_unknown_architecture_is_named(tiny_model, tmp_path, architecture):
    with pytest.raises(UnsupportedModel) as caught:
        loaded(changed(tiny_model, tmp_path / "model", model_type=architecture))

    assert caught.value.message == f'The architecture "{architecture}" is not supported by this version of Paddock.'


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_hidden_layers": 3}, "are missing, model.layers.2"),
        ({"num_hidden_layers": 1}, "are unknown to its architecture, model.layers.1"),
        ({"hidden_size": 64}, "has the shape"),
        ({"hidden_size": None}, "do not fit together"),
        ({"rope_scaling": {"rope_type": "none"}}, "do not fit together"),
    ],
)
def test_weights_that_do_not_fit_the_config_are_explained(tiny_model, tmp_path, config, message):
    with pytest.raises(DamagedModel) as caught:
        loaded(changed(tiny_model, tmp_path / "model", **config))

    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_a_config_that_lacks_a_key_is_explained(tiny_model, tmp_path):
    folder = changed(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    del config["rms_norm_eps"]
    (folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(DamagedModel, match="rms_norm_eps"):
        loaded(folder)


@pytest.mark.parametrize("content", [None, "", "{}", '{"model": {"type": "Unknown"}}'])
def test_a_damaged_tokenizer_is_one_sentence(tiny_model, tmp_path, content):
    folder = changed(tiny_model, tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    if content is not None:
        (folder / "tokenizer.json").write_text(content)

    with pytest.raises(DamagedModel, match="tokenizer"):
        loaded(folder)


def test_on_the_cpu_half_precision_becomes_single_and_packed_weights_may_stay_packed(tiny_model, tmp_path):
    import mlx.nn as nn
    from mlx.utils import tree_flatten
    from mlx_lm.utils import load_model

    model, _ = load_model(tiny_model)
    model.set_dtype(mx.bfloat16)
    nn.quantize(model, group_size=32, bits=4)
    folder = changed(tiny_model, tmp_path / "model", quantization={"group_size": 32, "bits": 4})
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))

    engine = loaded(folder, keep_packed=True)

    kinds = {array.dtype for _, array in tree_flatten(engine._model.model.parameters())}
    assert kinds == {mx.float32, mx.uint32}
    [frames] = run(engine, CompletionRequest(prompt="hello", sampling=GREEDY))
    assert frames[-1].eval_count == 12
    assert 0 < engine.memory().weights_bytes <= engine.memory().active_bytes


def test_a_model_that_would_be_computed_wrongly_is_refused(tiny_model, tmp_path):
    with pytest.raises(UnsupportedModel, match="its answers would be wrong"):
        loaded(changed(tiny_model, tmp_path / "model", model_type="mamba2", n_groups=8))


def test_no_library_wires_memory_down(engine):
    from mlx_lm.generate import wired_limit
    from mlx_lm.utils import maybe_set_recommended_wired_limit

    with wired_limit(engine._model.model):
        pass

    assert maybe_set_recommended_wired_limit() in (None, 0)
    assert mx.set_wired_limit(1) == 0


def test_memory_is_bounded_by_what_the_server_gives(tiny_model):
    before = mx.set_memory_limit(2**40), mx.set_cache_limit(2**40)
    try:
        loaded(tiny_model, memory_limit_bytes=2**30)

        assert mx.set_memory_limit(2**40) == 2**30
        assert mx.set_cache_limit(2**40) == 2**30 // 8
    finally:
        mx.set_memory_limit(before[0])
        mx.set_cache_limit(before[1])
