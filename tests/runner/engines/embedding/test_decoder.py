"""Decoders as encoders: how their files may come. What they compute is compared in tests/parity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models import qwen3

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.protocol import EmbeddingRequest
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.embedding.engine import EmbeddingEngine
from tests.runner.engines.embedding.running import run_alone
from tests.runner.engines.embedding.tiny import save_byte_tokenizer, save_modules
from tests.runner.tiny import byte_tokenizer

CONFIG: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "vocab_size": 258,
    "max_position_embeddings": 128,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}


def make_decoder(folder: Path, **config: Any) -> qwen3.Model:
    """Everything but the weights; returns the model, with its head."""
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    save_byte_tokenizer(folder)
    save_modules(folder, {"1_Pooling": {"pooling_mode_lasttoken": True}})
    mx.random.seed(5)
    return qwen3.Model(qwen3.ModelArgs.from_dict(CONFIG))


def save(folder: Path, weights: dict[str, mx.array]) -> None:
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})


def vectors(folder: Path, *texts: str) -> np.ndarray:
    engine = EmbeddingEngine(EngineOptions(model_path=folder, num_ctx=128))
    engine.load(lambda _progress: None)
    return np.array(run_alone(engine, EmbeddingRequest(inputs=texts))[0])


def test_the_last_token_before_the_head_is_the_vector(tmp_path: Path) -> None:
    model = make_decoder(tmp_path)
    save(tmp_path, dict(tree_flatten(model.parameters())))

    got = vectors(tmp_path, "one", "a longer text")

    for row, text in enumerate(("one", "a longer text")):
        tokens = [257, *(byte_id(letter) for letter in text), 256]
        state = np.array(model.model(mx.array([tokens]))[0, -1])
        np.testing.assert_allclose(got[row], state / np.linalg.norm(state), atol=1e-5)


def byte_id(letter: str) -> int:
    return int(byte_tokenizer().encode(letter).ids[0])


def test_a_checkpoint_without_a_head_and_prefix_gives_the_same(tmp_path: Path) -> None:
    whole, bare = tmp_path / "whole", tmp_path / "bare"
    whole.mkdir()
    bare.mkdir()
    weights = dict(tree_flatten(make_decoder(whole).parameters()))
    save(whole, weights)
    make_decoder(bare)
    save(bare, {name.removeprefix("model."): tensor for name, tensor in weights.items() if "lm_head" not in name})

    np.testing.assert_allclose(vectors(bare, "one"), vectors(whole, "one"), atol=1e-7)


def test_quantised_weights_stay_packed(tmp_path: Path) -> None:
    settings = {"group_size": 32, "bits": 8}
    model = make_decoder(tmp_path, quantization=settings)
    nn.quantize(model, **settings)
    save(tmp_path, dict(tree_flatten(model.parameters())))

    got = vectors(tmp_path, "one")[0]

    state = np.array(model.model(mx.array([[257, *(byte_id(letter) for letter in "one"), 256]]))[0, -1])
    assert got @ state / np.linalg.norm(state) > 0.9999


def test_an_architecture_that_is_not_known_is_refused(tmp_path: Path) -> None:
    model = make_decoder(tmp_path, model_type="nothing_of_the_kind")
    save(tmp_path, dict(tree_flatten(model.parameters())))

    with pytest.raises(UnsupportedModel, match="nothing_of_the_kind"):
        vectors(tmp_path, "one")


def test_attention_both_ways_is_not_guessed_at(tmp_path: Path) -> None:
    model = make_decoder(tmp_path, use_bidirectional_attention=True)
    save(tmp_path, dict(tree_flatten(model.parameters())))

    with pytest.raises(UnsupportedModel, match="both ways"):
        vectors(tmp_path, "one")


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    weights = dict(tree_flatten(make_decoder(tmp_path).parameters()))
    del weights["model.norm.weight"]
    save(tmp_path, weights)

    with pytest.raises(DamagedModel, match=r"1 are missing, model\.norm\.weight first"):
        vectors(tmp_path, "one")
