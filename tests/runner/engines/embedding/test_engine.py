"""The embedding engine on a thread of its own making: the test's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from paddock.errors import BadRequest, ContextTooLong, DamagedModel, Unsupported, UnsupportedModel
from paddock.protocol import (
    ChatMessage,
    ChatRequest,
    Done,
    EmbeddingRequest,
    Failed,
    RerankRequest,
    TokenizeRequest,
    Vectors,
)
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.embedding.engine import EmbeddingEngine
from tests.runner.engines.embedding.running import run_alone
from tests.runner.engines.embedding.tiny import POOLING, make_tiny_bert, save_modules

TEXTS = ("one", "another text, which is longer", "x", "")


def loaded(folder: Path, **options: Any) -> EmbeddingEngine:
    engine = EmbeddingEngine(EngineOptions(model_path=folder, **{"num_ctx": 4096, **options}))
    engine.load(lambda _progress: None)
    return engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> EmbeddingEngine:
    return loaded(folder)


def vectors(engine: EmbeddingEngine, *inputs: Any, **more: Any) -> np.ndarray:
    return np.array(run_alone(engine, EmbeddingRequest(inputs=inputs, **more))[0])


def test_vectors_do_not_depend_on_their_company(engine: EmbeddingEngine) -> None:
    together = vectors(engine, *TEXTS)

    for row, text in enumerate(TEXTS):
        np.testing.assert_allclose(vectors(engine, text)[0], together[row], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-7)


def test_dimensions_are_cut_off_and_the_rest_has_length_one(engine: EmbeddingEngine) -> None:
    whole, cut = vectors(engine, "one")[0], vectors(engine, "one", dimensions=5)[0]

    np.testing.assert_allclose(cut, whole[:5] / np.linalg.norm(whole[:5]), atol=1e-7)


def test_vectors_can_be_had_at_their_own_length(engine: EmbeddingEngine) -> None:
    raw = vectors(engine, "one", normalise=False)[0]

    assert abs(np.linalg.norm(raw) - 1) > 1e-3
    np.testing.assert_allclose(raw / np.linalg.norm(raw), vectors(engine, "one")[0], atol=1e-6)


@pytest.mark.parametrize(("dimensions", "message"), [(0, "at least 1"), (33, "at most 32")])
def test_dimensions_that_there_are_not_are_refused(engine: EmbeddingEngine, dimensions: int, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        vectors(engine, "one", dimensions=dimensions)


def test_long_texts_are_cut_with_their_last_token_kept(engine: EmbeddingEngine) -> None:
    passages = engine.prepare(EmbeddingRequest(inputs=("x" * 200,)))

    assert engine.context_length == 64
    assert len(passages.texts[0]) == 64
    assert passages.texts[0][-1] == engine.prepare(EmbeddingRequest(inputs=("x",))).texts[0][-1]
    with pytest.raises(ContextTooLong, match="202 tokens, but the context holds 64"):
        engine.prepare(EmbeddingRequest(inputs=("short", "x" * 200), truncate=False))


def test_token_ids_are_taken_as_they_stand(engine: EmbeddingEngine) -> None:
    tokens = tuple(engine.tokenize(TokenizeRequest(text="one", add_special_tokens=True)))

    np.testing.assert_allclose(vectors(engine, tokens)[0], vectors(engine, "one")[0], atol=1e-7)
    with pytest.raises(BadRequest, match="vocabulary has 258 tokens"):
        engine.prepare(EmbeddingRequest(inputs=((258,),)))
    with pytest.raises(BadRequest, match="vocabulary"):
        engine.prepare(EmbeddingRequest(inputs=((-1,),)))


def test_what_the_model_is_not_made_for_is_refused(engine: EmbeddingEngine) -> None:
    with pytest.raises(Unsupported, match="makes embeddings"):
        engine.prepare(ChatRequest(messages=(ChatMessage(role="user", content="hi"),)))
    with pytest.raises(Unsupported, match="makes embeddings"):
        engine.prepare(RerankRequest(query="a", documents=("b",)))
    with pytest.raises(BadRequest, match="no input"):
        engine.prepare(EmbeddingRequest(inputs=()))


def test_requests_take_turns_and_each_ends_once(folder: Path) -> None:
    engine = loaded(folder, num_batch=16)
    engine.submit(1, engine.prepare(EmbeddingRequest(inputs=("a text of length",) * 6)))
    engine.submit(2, engine.prepare(EmbeddingRequest(inputs=("another text too",))))

    steps = []
    while engine.has_work:
        steps.append(engine.step())

    ends = [request_id for frames in steps for request_id, frame in frames if isinstance(frame, Done | Failed)]
    assert ends == [2, 1]
    assert [len(frames) for frames in steps] == [0, 2, 0, 0, 0, 0, 2]
    assert engine.step() == []


def test_a_large_batch_is_computed_a_layer_per_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = loaded(folder)
    expected = vectors(engine, *TEXTS)
    monkeypatch.setattr("paddock.runner.engines.embedding.engine._AT_ONCE_TOKENS", 4)

    np.testing.assert_allclose(vectors(engine, *TEXTS), expected, atol=1e-6)
    engine.submit(1, engine.prepare(EmbeddingRequest(inputs=("one",))))
    assert [len(engine.step()) for _ in range(4)] == [0, 0, 0, 2]  # two layers, the pooling, the end
    engine.submit(2, engine.prepare(EmbeddingRequest(inputs=("one",))))
    engine.step()
    engine.cancel(2)
    assert not engine.has_work


def test_layers_that_do_not_fit_together_are_told_when_the_model_is_loaded(tmp_path: Path) -> None:
    make_tiny_bert(tmp_path)
    save_modules(tmp_path, {"1_Pooling": POOLING, "2_Dense": {"in_features": 5, "out_features": 7, "bias": False}})
    save_file({"linear.weight": np.ones((7, 5), np.float32)}, tmp_path / "2_Dense" / "model.safetensors")

    with pytest.raises(DamagedModel, match="do not fit it"):
        loaded(tmp_path)


def test_a_cancelled_request_has_no_more_frames(folder: Path) -> None:
    engine = loaded(folder, num_batch=16)
    engine.submit(1, engine.prepare(EmbeddingRequest(inputs=("a text of length",) * 6)))
    engine.submit(2, engine.prepare(EmbeddingRequest(inputs=("another text too",))))
    engine.step()

    engine.cancel(1)

    assert [request_id for request_id, _ in engine.step()] == [2, 2]
    assert not engine.has_work
    engine.cancel(1)


def test_what_goes_wrong_in_one_request_fails_that_one_alone(engine: EmbeddingEngine) -> None:
    engine.submit(1, engine.prepare(EmbeddingRequest(inputs=("one",), dimensions=99)))
    engine.submit(2, engine.prepare(EmbeddingRequest(inputs=("two",))))

    frames = engine.step()

    assert [(request_id, type(frame)) for request_id, frame in frames] == [(1, Failed), (2, Vectors), (2, Done)]


def test_a_stumble_fails_the_batch_and_the_engine_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = loaded(folder)
    engine.submit(1, engine.prepare(EmbeddingRequest(inputs=("one",))))
    with monkeypatch.context() as patch:
        patch.setattr(mx, "arange", lambda *_: (_ for _ in ()).throw(MemoryError("out of memory")))
        frames = engine.step()

    ((request_id, failed),) = frames
    assert request_id == 1
    assert isinstance(failed, Failed)
    assert failed.code == "out_of_memory"
    assert len(vectors(engine, "one")) == 1


def test_vectors_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    make_tiny_bert(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["encoder.layer.0.output.dense.weight"] += np.float32("nan")
    save_file(weights, tmp_path / "model.safetensors")

    with pytest.raises(DamagedModel, match="no numbers"):
        vectors(loaded(tmp_path), "x")


def test_a_reranker_gives_a_number_per_document(tmp_path: Path) -> None:
    engine = loaded(make_tiny_bert(tmp_path, is_reranker=True))
    request = RerankRequest(query="which?", documents=("this", "or that", "this"))

    rows, done = run_alone(engine, request)

    assert [len(row) for row in rows] == [1, 1, 1]
    assert rows[0][0] == pytest.approx(rows[2][0], abs=1e-5)
    assert rows[0][0] != pytest.approx(rows[1][0], abs=1e-3)
    assert done.prompt_eval_count == sum(len("which?") + len(text) + 3 for text in request.documents)
    with pytest.raises(Unsupported, match="compares texts"):
        engine.prepare(EmbeddingRequest(inputs=("x",)))


def test_of_a_pair_the_longer_text_is_cut(tmp_path: Path) -> None:
    engine = loaded(make_tiny_bert(tmp_path, is_reranker=True))

    for query, document, kept in (("q" * 10, "d" * 200, 10), ("q" * 200, "d" * 10, 51), ("q" * 200, "d" * 200, 30)):
        passages = engine.prepare(RerankRequest(query=query, documents=(document,)))
        assert len(passages.texts[0]) == 64
        # The first text, its two special tokens, then the second.
        assert passages.kinds[0].index(1) == kept + 2


def test_a_dense_layer_changes_the_width(tmp_path: Path, engine: EmbeddingEngine) -> None:
    make_tiny_bert(tmp_path)
    settings = {
        "in_features": 32,
        "out_features": 7,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    save_modules(tmp_path, {"1_Pooling": POOLING, "2_Dense": settings})
    rng = np.random.default_rng(3)
    weight, bias = rng.standard_normal((7, 32), np.float32), rng.standard_normal(7, np.float32)
    plain = vectors(engine, "one", normalise=False)[0]
    save_file({"linear.weight": weight, "linear.bias": bias}, tmp_path / "2_Dense" / "model.safetensors")

    got = vectors(loaded(tmp_path), "one", normalise=False)[0]

    np.testing.assert_allclose(got, np.tanh(weight @ plain + bias), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("embeddings.LayerNorm.bias"), "1 are missing, embeddings.LayerNorm.bias first"),
        (lambda weights: weights.update({"extra": np.ones(1, np.float32)}), "1 are unknown .* extra first"),
        (
            lambda weights: weights.update({"embeddings.LayerNorm.bias": np.ones(3, np.float32)}),
            r"embeddings.LayerNorm.bias has the shape \(3,\) in place of \(32,\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, change: Any, message: str) -> None:
    make_tiny_bert(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors")

    with pytest.raises(DamagedModel, match=message):
        loaded(tmp_path)


def test_older_names_heads_and_prefixes_are_understood(tmp_path: Path, engine: EmbeddingEngine) -> None:
    plain = vectors(engine, "one")
    make_tiny_bert(tmp_path)
    weights = {f"bert.{name}": tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    weights = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in weights.items()}
    more = {"bert.pooler.dense.bias": np.ones(32, np.float32), "cls.predictions.bias": np.ones(258, np.float32)}
    save_file({**weights, **more, "bert.embeddings.position_ids": np.arange(64)}, tmp_path / "model.safetensors")

    np.testing.assert_allclose(vectors(loaded(tmp_path), "one"), plain, atol=1e-7)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"position_embedding_type": "relative_key"}, "absolute positions"),
        ({"hidden_act": "mish"}, 'activation "mish"'),
        ({"num_attention_heads": 5}, "heads cannot share"),
        ({"intermediate_size": 0}, "no usable intermediate_size"),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    make_tiny_bert(tmp_path)
    known = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**known, **config}))

    with pytest.raises(UnsupportedModel, match=message):
        loaded(tmp_path)


def test_a_classifier_of_several_classes_is_no_reranker(tmp_path: Path) -> None:
    make_tiny_bert(tmp_path, is_reranker=True)
    weights = load_file(tmp_path / "model.safetensors")
    weights |= {"classifier.weight": np.ones((3, 32), np.float32), "classifier.bias": np.ones(3, np.float32)}
    save_file(weights, tmp_path / "model.safetensors")

    with pytest.raises(UnsupportedModel, match="tells 3 classes apart"):
        loaded(tmp_path)


def test_half_precision_is_computed_in_single_on_the_cpu(tmp_path: Path) -> None:
    make_tiny_bert(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({name: tensor.astype(np.float16) for name, tensor in weights.items()}, tmp_path / "model.safetensors")

    engine = loaded(tmp_path, num_gpu=0)

    assert engine.memory().weights_bytes == sum(tensor.nbytes for tensor in weights.values())


def test_long_texts_are_attended_to_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = loaded(make_tiny_bert(tmp_path))
    text = "a text with more tokens than a block has rows"
    whole = vectors(engine, text)

    monkeypatch.setattr("paddock.runner.engines.embedding.layers.ATTENTION_ROWS", 16)

    np.testing.assert_allclose(vectors(engine, text), whole, atol=1e-6)


def test_spare_memory_is_given_back(engine: EmbeddingEngine) -> None:
    vectors(engine, *TEXTS)

    assert engine.shrink(0) >= 0
    assert engine.memory().cache_bytes == 0
    assert engine.memory().longest_tokens == 31
