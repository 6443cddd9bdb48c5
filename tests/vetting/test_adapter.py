"""Adapters: two forms are read, whatever is more than a plain LoRA is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from paddock.errors import InvalidModelFiles
from paddock.vetting.adapter import ADAPTER_CONFIG, MLX_WEIGHTS, PEFT_WEIGHTS, read_adapter

MLX = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": 2, "scale": 10.0, "dropout": 0.0}}
PEFT = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
LAYER = "model.layers.0.self_attn.q_proj"


def zeros(*shape: int) -> numpy.ndarray:
    return numpy.zeros(shape, numpy.float32)


def write(folder: Path, config: dict[str, Any], weights: str, tensors: dict[str, numpy.ndarray]) -> dict[str, Path]:
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config))
    save_file(tensors, folder / weights)
    return {ADAPTER_CONFIG: folder / ADAPTER_CONFIG, weights: folder / weights}


def mlx_tensors() -> dict[str, numpy.ndarray]:
    return {f"{LAYER}.lora_a": zeros(8, 2), f"{LAYER}.lora_b": zeros(2, 4)}


def peft_tensors() -> dict[str, numpy.ndarray]:
    name = f"base_model.model.{LAYER}"
    return {f"{name}.lora_A.weight": zeros(2, 8), f"{name}.lora_B.weight": zeros(4, 2)}


def test_an_adapter_of_mlx_lm_is_read(tmp_path):
    adapter = read_adapter(write(tmp_path, MLX, MLX_WEIGHTS, mlx_tensors()))

    (layer,) = adapter.layers
    assert (layer.layer, layer.scale, layer.is_peft) == (LAYER, 10.0, False)
    assert layer.shape() == (4, 8)
    assert layer.shape(is_embedding=True) == (8, 4)
    assert (adapter.weights, adapter.size_bytes) == (MLX_WEIGHTS, 4 * (16 + 8))


def test_an_adapter_of_experts_has_a_product_for_each(tmp_path):
    tensors = {"mlp.switch_mlp.up_proj.lora_a": zeros(3, 2, 8), "mlp.switch_mlp.up_proj.lora_b": zeros(3, 4, 2)}

    (layer,) = read_adapter(write(tmp_path, MLX, MLX_WEIGHTS, tensors)).layers

    assert layer.shape() == (3, 4, 8)


@pytest.mark.parametrize(("more", "scale"), [({}, 4.0), ({"use_rslora": True}, 8 / 2**0.5)])
def test_an_adapter_of_peft_is_scaled_as_peft_does(tmp_path, more, scale):
    (layer,) = read_adapter(write(tmp_path, PEFT | more, PEFT_WEIGHTS, peft_tensors())).layers

    assert (layer.layer, layer.is_peft, layer.shape()) == (LAYER, True, (4, 8))
    assert layer.scale == pytest.approx(scale)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"fine_tune_type": "dora"}, "only plain LoRA"),
        ({"fine_tune_type": "full"}, "only plain LoRA"),
        ({"lora_parameters": {"rank": 2}}, "lora_parameters.scale"),
        ({"lora_parameters": {"scale": True}}, "lora_parameters.scale"),
        ({"lora_parameters": 7}, "lora_parameters.scale"),
    ],
)
def test_what_of_mlx_lm_is_no_plain_adapter_is_refused(tmp_path, config, words):
    with pytest.raises(InvalidModelFiles, match=words):
        read_adapter(write(tmp_path, MLX | config, MLX_WEIGHTS, mlx_tensors()))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "IA3"}, "only plain LoRA"),
        ({"use_dora": True}, "use_dora"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"r": 0}, "rank of 0"),
        ({"r": 3}, "do not fit"),
        ({"lora_alpha": None}, "lora_alpha"),
    ],
)
def test_what_of_peft_is_no_plain_adapter_is_refused(tmp_path, config, words):
    with pytest.raises(InvalidModelFiles, match=words):
        read_adapter(write(tmp_path, PEFT | config, PEFT_WEIGHTS, peft_tensors()))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({f"{LAYER}.lora_a": zeros(8, 2)}, "do not fit"),
        ({f"{LAYER}.lora_a": zeros(8, 2), f"{LAYER}.lora_b": zeros(3, 4)}, "do not fit"),
        ({f"{LAYER}.lora_a": zeros(8), f"{LAYER}.lora_b": zeros(2, 4)}, "do not fit"),
        ({f"{LAYER}.m": zeros(8)}, "no part of a plain LoRA"),
        ({f"{LAYER}.lora_a": numpy.zeros((8, 2), numpy.int32)}, "no part of a plain LoRA"),
        ({}, "changes no layer"),
    ],
)
def test_tensors_that_are_no_products_are_refused(tmp_path, tensors, words):
    with pytest.raises(InvalidModelFiles, match=words):
        read_adapter(write(tmp_path, MLX, MLX_WEIGHTS, tensors))


def test_a_folder_that_lacks_a_file_or_has_another_is_refused(tmp_path):
    files = write(tmp_path, MLX, MLX_WEIGHTS, mlx_tensors())
    for wrong in ({}, {MLX_WEIGHTS: files[MLX_WEIGHTS]}, files | {"more.safetensors": files[MLX_WEIGHTS]}):
        with pytest.raises(InvalidModelFiles, match="An adapter is"):
            read_adapter(wrong)
