"""The form in which weights are computed with on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from bench.memory_checkpoints import CHECKPOINTS, write
from paddock.runner.engines.text.model.loading import LoadedModel, load, unpack
from paddock.store.facts import read_facts

NARROW = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "moe_intermediate_size": 64,
    "vocab_size": 320,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
}
QUANTISED = (nn.QuantizedLinear, nn.QuantizedEmbedding, QuantizedSwitchLinear)
PROMPT = mx.arange(12)[None]
VECTORS = mx.random.normal((3, 64), key=mx.random.key(3))


@pytest.fixture(scope="module", params=["llama", "qwen3-moe", "with biases"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow model in 4 bits: tied embeddings, experts, or biases beside its weights."""
    name = "llama" if request.param == "with biases" else request.param
    checkpoint = next(each for each in CHECKPOINTS if each.name == name)
    config = {key: NARROW.get(key, size) for key, size in checkpoint.config.items()}
    if request.param == "with biases":
        config |= {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}
    quantised = replace(checkpoint, config=config, dtype="bfloat16", quantization={"group_size": 64, "bits": 4})
    return write(quantised, tmp_path_factory.mktemp("quantised"))


def loaded(folder: Path, *, keep_packed: bool) -> LoadedModel:
    return load(folder, lambda _: None, keep_packed=keep_packed)


def kinds(model: nn.Module) -> set[type]:
    return {type(module) for _, module in model.named_modules()}


@pytest.fixture(autouse=True)
def on_the_cpu() -> Any:
    before = mx.default_device()
    mx.set_default_device(mx.cpu)
    yield
    mx.set_default_device(before)


def test_quantised_weights_become_float32_and_mean_the_same(folder: Path) -> None:
    """The same numbers, so that logits differ by the order of sums alone: 1e-4 of their largest."""
    packed, dense = loaded(folder, keep_packed=True), loaded(folder, keep_packed=False)

    expected, found = packed.model(PROMPT), dense.model(PROMPT)

    assert kinds(packed.model) & set(QUANTISED)
    assert not kinds(dense.model) & set(QUANTISED)
    assert found.dtype == mx.float32
    assert mx.max(mx.abs(found - expected)).item() <= 1e-4 * mx.max(mx.abs(expected)).item()


@pytest.mark.parametrize("keep_packed", [True, False])
def test_the_engine_holds_what_the_headers_said(folder: Path, keep_packed: bool) -> None:
    facts = read_facts({path.name: path for path in folder.iterdir()})

    foreseen = facts.float32_bytes if keep_packed else facts.dense_bytes

    assert loaded(folder, keep_packed=keep_packed).weights_bytes == foreseen


def test_experts_are_unpacked_as_a_stack() -> None:
    layer = SwitchLinear(64, 32, 4)
    model = nn.Sequential(layer.to_quantized(64, 4))

    unpack(model)

    assert type(model.layers[0]) is SwitchLinear
    assert model.layers[0].weight.shape == (4, 32, 64)
    assert mx.max(mx.abs(model.layers[0].weight - layer.weight)).item() < 0.02


@pytest.mark.parametrize(("group_size", "bits", "mode"), [(32, 4, "mxfp4"), (32, 8, "mxfp8"), (16, 4, "nvfp4")])
def test_other_ways_of_packing_are_unpacked_to_the_same_numbers(group_size: int, bits: int, mode: str) -> None:
    """The numbers fit into single precision: products differ by the order of sums alone."""
    model = nn.Sequential(nn.Linear(64, 32).to_quantized(group_size, bits, mode))
    expected = model(VECTORS)

    unpack(model)

    assert type(model.layers[0]) is nn.Linear
    assert model.layers[0].weight.dtype == mx.float32
    assert mx.allclose(model(VECTORS), expected, atol=1e-5)


def test_experts_with_a_scale_for_each_whole_tensor_are_left_alone() -> None:
    layer = SwitchLinear(64, 32, 4).to_quantized(16, 4, "nvfp4", global_scale=True)
    model = nn.Sequential(layer)

    unpack(model)

    assert type(model.layers[0]) is QuantizedSwitchLinear
