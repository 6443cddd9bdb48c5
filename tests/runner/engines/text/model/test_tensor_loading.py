"""Models that are stored one tensor at a time compute what mlx-lm computes with the same weights of its own."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear
from mlx_lm.utils import load_model

from bench.memory_checkpoints import write_tokenizer
from paddock.errors import DamagedModel, PaddockError, UnsupportedModel
from paddock.runner.engines import stored_tensors
from paddock.runner.engines.text.model.loading import load
from paddock.runner.engines.text.model.tensor_loading import place_experts
from paddock.store.library import Library, StoredModel
from tests.fakes.tensor_models import (
    EXPERTS,
    KINDS,
    LLAMA,
    TIED,
    Config,
    KindOf,
    all_of,
    as_it_is,
    float_model,
    promoted,
    tensor_model,
)

PROMPT = mx.arange(24)[None]
TOLERANCE = 1e-5
"""Of the largest logit: the arrays and the operations are the same, so there is nothing but rounding."""
PACKED = (nn.QuantizedLinear, nn.QuantizedEmbedding, QuantizedSwitchLinear)


@pytest.fixture(autouse=True)
def on_the_cpu() -> Iterator[None]:
    before = mx.default_device()
    mx.set_default_device(mx.cpu)
    yield
    mx.set_default_device(before)


def embedded_too(name: str) -> str:
    return "int8" if "embed_tokens" in name else all_of("int4")(name)


MODELS: dict[str, tuple[Config, KindOf, dict[str, Any]]] = {
    "float": (LLAMA, as_it_is, {}),
    **{kind: (LLAMA, all_of(kind), {}) for kind in KINDS},
    "int4 with some int8": (LLAMA, promoted, {}),
    "tied": (TIED, all_of("nvfp4"), {}),
    "tied and packed": (TIED, embedded_too, {}),
    "experts": (EXPERTS, as_it_is, {}),
    "experts one by one": (EXPERTS, as_it_is, {"apart": True}),
    **{f"{kind} experts": (EXPERTS, all_of(kind), {}) for kind in KINDS},
    "experts of two kinds": (EXPERTS, promoted, {}),
    "packed experts one by one": (EXPERTS, promoted, {"apart": True, "quiet": True}),
}


def stored(folder: Path, config: Config, kind_of: KindOf, **options: Any) -> tuple[Library, StoredModel]:
    library = Library(folder)
    return library, tensor_model(config, kind_of, **options).put_into(library, "stored")


def as_mlx_has_it(folder: Path, config: Config, kind_of: KindOf) -> nn.Module:
    """The same model quantised, saved and loaded by MLX's own libraries, in single precision."""
    model = float_model(config)
    settings: dict[str, Any] = {}

    def how(path: str, module: nn.Module) -> bool | dict[str, Any]:
        kind = kind_of(f"{path}.weight") if hasattr(module, "to_quantized") else ""
        if kind:
            settings[path] = dict(KINDS[kind])
        return dict(KINDS[kind]) if kind else False

    nn.quantize(model, class_predicate=how)
    folder.mkdir()
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    told = {"quantization": {"group_size": 64, "bits": 4, **settings}} if settings else {}
    (folder / "config.json").write_text(json.dumps({**config, **told}))
    write_tokenizer(folder)
    loaded, _ = load_model(folder)
    loaded.set_dtype(mx.float32)
    return loaded


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_mlx_with_the_same_weights(tmp_path: Path, name: str) -> None:
    config, kind_of, options = MODELS[name]
    library, model = stored(tmp_path / "store", config, kind_of, **options)
    expected = as_mlx_has_it(tmp_path / "reference", config, kind_of)(PROMPT)

    packed = load(library.view(model), lambda _: None, keep_packed=True)
    dense = load(library.view(model), lambda _: None, keep_packed=False)

    largest = mx.max(mx.abs(expected)).item()
    assert mx.max(mx.abs(packed.model(PROMPT) - expected)).item() <= TOLERANCE * largest
    # Unpacked weights are summed up in another order.
    assert mx.max(mx.abs(dense.model(PROMPT) - expected)).item() <= 10 * TOLERANCE * largest


@pytest.mark.parametrize("name", ["float", "tied and packed", "mxfp4 experts", "packed experts one by one"])
def test_the_engine_holds_what_the_headers_said(tmp_path: Path, name: str) -> None:
    config, kind_of, options = MODELS[name]
    library, model = stored(tmp_path, config, kind_of, **options)

    dense = load(library.view(model), lambda _: None, keep_packed=False)
    packed = load(library.view(model), lambda _: None, keep_packed=True)

    assert dense.weights_bytes == model.facts.dense_bytes
    assert packed.weights_bytes == model.facts.float32_bytes
    kinds = {type(module) for _, module in dense.model.named_modules()}
    assert not kinds & set(PACKED)


def test_weights_are_read_where_few_files_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, model = stored(tmp_path, LLAMA, all_of("int4"))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 20))
    monkeypatch.setattr(resource, "setrlimit", refuse)

    loaded = load(library.view(model), lambda _: None)

    assert not stored_tensors._may_open(1)
    assert loaded.weights_bytes == model.facts.dense_bytes


def refuse(*_: object) -> None:
    raise ValueError("not allowed to raise maximum limit")


def test_a_file_that_was_cut_short_is_told_by_its_tensor(tmp_path: Path) -> None:
    view = broken_view(tmp_path, "model.norm.weight", lambda data: data[:-2])

    assert "The file tensors/model.norm.weight.safetensors is truncated" in problem_of(view)


def test_scales_that_do_not_fit_their_layer_are_told(tmp_path: Path) -> None:
    """The layer is twice as wide as its weights would be in 8 bits."""
    library, model = stored(tmp_path / "a", LLAMA, all_of("int4"))
    _, other = stored(tmp_path / "b", {**LLAMA, "intermediate_size": 64}, all_of("int4"))
    view = library.view(model)
    wrong = Library(tmp_path / "b").view(other) / "tensors" / "model.layers.0.mlp.down_proj.weight.safetensors"
    target = view / "tensors" / wrong.name
    target.unlink()
    target.write_bytes(wrong.read_bytes())

    assert "The scales of model.layers.0.mlp.down_proj do not fit" in problem_of(view)


def test_a_tensor_that_is_missing_is_told(tmp_path: Path) -> None:
    library, model = stored(tmp_path, LLAMA, all_of("int4"))
    view = library.view(model)
    (view / "tensors" / "model.norm.weight.safetensors").unlink()

    assert "1 are missing, model.norm.weight first" in problem_of(view)


def broken_view(root: Path, tensor: str, change: Any) -> Path:
    library, model = stored(root, LLAMA, all_of("int4"))
    view = library.view(model)
    path = view / "tensors" / f"{tensor}.safetensors"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(change(data))
    return view


def problem_of(view: Path) -> str:
    with pytest.raises(PaddockError) as error:
        load(view, lambda _: None)
    assert isinstance(error.value, DamagedModel)
    return error.value.message


class TestPlacingExperts:
    """Where packed experts go, by the model that they are for."""

    model = float_model(EXPERTS)
    scales = mx.zeros((4, 2, 1))

    def test_both_projections_in_one_tensor_are_halves_where_that_is_known(self) -> None:
        gate_up = mx.arange(8)[None, :, None] * mx.ones((4, 8, 2))
        tensors = {"model.layers.0.mlp.experts.gate_up_proj.weight": gate_up}

        experts, rest = place_experts(self.model, tensors, "qwen3_5_moe")

        assert not rest
        assert experts["model.layers.0.mlp.switch_mlp.gate_proj.weight"][0, :, 0].tolist() == [0, 1, 2, 3]
        assert experts["model.layers.0.mlp.switch_mlp.up_proj.weight"][0, :, 0].tolist() == [4, 5, 6, 7]

    def test_both_projections_in_one_tensor_are_refused_elsewhere(self) -> None:
        with pytest.raises(UnsupportedModel):
            place_experts(self.model, {"model.layers.0.mlp.experts.gate_up_proj.weight": self.scales}, "other")

    def test_experts_of_an_unknown_projection_are_refused(self) -> None:
        with pytest.raises(UnsupportedModel):
            place_experts(self.model, {"model.layers.0.mlp.experts.other_proj.weight": self.scales}, "qwen3_moe")

    def test_a_missing_expert_is_told(self) -> None:
        name = "model.layers.0.mlp.experts.{}.up_proj.{}"
        tensors = {name.format(number, kind): self.scales for number in (0, 2) for kind in ("weight", "scales")}

        with pytest.raises(DamagedModel):
            place_experts(self.model, tensors, "qwen3_moe")

    def test_experts_of_layers_that_the_model_has_not_are_left_to_its_architecture(self) -> None:
        tensors = {"model.layers.7.mlp.experts.up_proj.weight": self.scales}

        assert place_experts(self.model, tensors, "qwen3_moe") == ({}, tensors)
