"""Conversions against mlx-lm's own: quantised weights, their perplexity, and adapters."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy
import pytest
from mlx.utils import tree_flatten
from mlx_lm import utils as mlx_lm_utils
from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters

from paddock import demo
from paddock.errors import InvalidModelFiles
from paddock.protocol import decode
from paddock.protocol.conversion import (
    ADAPTER_FOLDER,
    OUTPUT_FOLDER,
    PACKINGS,
    REPLY_FILE,
    SOURCE_FOLDER,
    ConversionOrder,
    ConversionReply,
)
from paddock.runner.engines.conversion.engine import convert
from paddock.runner.engines.text.model.loading import load
from paddock.vetting.safetensors_header import read_header
from tests.runner.architectures import make_model
from tests.runner.tiny import TinyShape, byte_tokenizer, make_tiny_model, save_tokenizer

TEXT = (
    "<|im_start|>user\nTell me a story about a fox.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    "There was once a fox called Flora, and she lived on a mossy hill. Everybody on the hill knew Flora and liked her. "
    "The fox had always wanted to find the treasure on an old map.\n\nFlora tried with all her might, but half of the "
    'map was missing. "Let us try it together," said a jolly toad called Hilda. Hilda had a good idea, and together '
    "they pieced the rest together from an old song.\n\nAnd before long the chest creaked open, and it was full of "
    "shiny golden buttons. And everybody on the hill still tells the story of the fox who never gave up.<|im_end|>\n"
    "<|im_start|>user\nWhat is Paddock?<|im_end|>\n<|im_start|>assistant\nPaddock is a local model server: it runs "
    "language models on your own computer and speaks Ollama's HTTP API.<|im_end|>\n"
)
SCALE = 3.0


def prepared(folder: Path, source: Path) -> Path:
    """The folder of a conversion of this model."""
    shutil.copytree(source, folder / SOURCE_FOLDER)
    (folder / OUTPUT_FOLDER).mkdir()
    return folder


def converted(folder: Path, **order: Any) -> Path:
    """The new model, all files together."""
    shares: list[float] = []
    convert(folder, folder / OUTPUT_FOLDER, ConversionOrder(**order), shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    for path in (folder / SOURCE_FOLDER).iterdir():
        if path.suffix != ".safetensors" and not (folder / OUTPUT_FOLDER / path.name).exists():
            shutil.copy(path, folder / OUTPUT_FOLDER)
    return folder / OUTPUT_FOLDER


def loaded(folder: Path) -> Any:
    return load(folder, lambda _: None)


def logits(model: Any, tokens: list[int]) -> numpy.ndarray:
    return numpy.array(model(mx.array([tokens]))[0].astype(mx.float32))


def perplexity(model: Any, tokens: list[int]) -> float:
    scores = model(mx.array([tokens]))[0].astype(mx.float32)
    kept = scores[:-1] - mx.logsumexp(scores[:-1], axis=-1, keepdims=True)
    chosen = mx.take_along_axis(kept, mx.array(tokens[1:])[:, None], axis=-1)
    return math.exp(-chosen.mean().item())


def mlx_lm_quantised(source: Path, kind: str) -> Any:
    """What `mlx_lm.convert -q` makes, in memory."""
    packing = PACKINGS[kind]
    model, config = mlx_lm_utils.load_model(source)
    model, _ = mlx_lm_utils.quantize_model(model, config, packing.group_size, packing.bits, mode=packing.mode)
    model.set_dtype(mx.float32)
    return model


@pytest.mark.parametrize("kind", ["int4", "int8"])
def test_perplexity_is_within_two_percent_of_mlx_lms_own(tmp_path, kind):
    """Of the demo model, on a fixed text: 2 % is the bar, and more bits where they are felt most cost nothing. With so
    small a model mlx-lm's may come out below that of the source by chance; then the source's counts."""
    source = demo.model_folder()

    made = loaded(converted(prepared(tmp_path / "job", source), kind=kind))

    tokens = made.tokenizer.encode(TEXT)
    others = mlx_lm_quantised(source, kind), mlx_lm_utils.load_model(source)[0]
    assert perplexity(made.model, tokens) <= 1.02 * max(perplexity(other, tokens) for other in others)


@pytest.mark.parametrize("kind", ["mxfp4", "mxfp8", "nvfp4"])
def test_the_floating_kinds_become_models_that_say_nearly_the_same(tmp_path, kind):
    source = demo.model_folder()

    output = converted(prepared(tmp_path / "job", source), kind=kind)

    before, made = loaded(source), loaded(output)
    tokens = before.tokenizer.encode(TEXT)
    assert perplexity(made.model, tokens) < 1.1 * perplexity(before.model, tokens)
    assert (output / "model.safetensors").stat().st_size < 0.65 * (source / "model.safetensors").stat().st_size
    quantization = json.loads((output / "config.json").read_text())["quantization"]
    assert (quantization["mode"], quantization["bits"], quantization["group_size"]) == PACKINGS[kind]


def test_the_packed_numbers_are_mlx_lms_to_the_last_bit(tmp_path):
    source = demo.model_folder()

    output = converted(prepared(tmp_path / "job", source), kind="int8")

    wanted, config = mlx_lm_utils.load_model(source)
    wanted, _ = mlx_lm_utils.quantize_model(wanted, config, 64, 8)
    made = mx.load(str(output / "model.safetensors"))
    expected = dict(tree_flatten(wanted.parameters()))
    assert made.keys() == expected.keys()
    assert all(mx.array_equal(made[name], expected[name]).item() for name in expected)


def test_what_was_made_is_told(tmp_path):
    job = prepared(tmp_path / "job", demo.model_folder())

    output = converted(job, kind="int4")

    reply = decode((job / REPLY_FILE).read_bytes(), ConversionReply)
    felt = ("self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj")
    assert set(reply.layers["int8"]) == {"model.embed_tokens", *(f"model.layers.*.{name}" for name in felt)}
    config = json.loads((output / "config.json").read_text())
    assert config["quantization"]["model.layers.3.mlp.down_proj"] == {"group_size": 64, "bits": 8, "mode": "affine"}
    assert config["quantization_config"] == config["quantization"]


def test_files_are_bounded_and_have_an_index(tmp_path):
    most_bytes = 400_000
    output = converted(prepared(tmp_path / "job", demo.model_folder()), kind="int8", most_file_bytes=most_bytes)

    names = sorted(path.name for path in output.glob("*.safetensors"))
    assert names[0] == f"model-00001-of-{len(names):05d}.safetensors"
    assert len(names) > 3
    weight_map = json.loads((output / "model.safetensors.index.json").read_text())["weight_map"]
    tensors = {name: read_header(output / name, name) for name in names}
    assert weight_map == {tensor.name: name for name, found in tensors.items() for tensor in found}
    assert all(sum(tensor.size_bytes for tensor in found) <= most_bytes for found in tensors.values())
    assert perplexity(loaded(output).model, loaded(output).tokenizer.encode(TEXT)) > 1


def test_no_more_is_in_memory_than_a_tensor_and_some_rows(tmp_path):
    """A file of 67 MB, of which the largest tensor has 4 MB: twice the file is the bar."""
    job = prepared(tmp_path / "job", make_wide_model(tmp_path / "wide"))
    mx.clear_cache()
    before_bytes = mx.get_active_memory()
    own_bytes = mx.set_cache_limit(0)
    mx.reset_peak_memory()

    converted(job, kind="int4")

    peak_bytes = mx.get_peak_memory() - before_bytes
    mx.set_cache_limit(own_bytes)
    assert peak_bytes < 4 * 4_194_304


def make_wide_model(folder: Path) -> Path:
    folder.mkdir()
    return make_tiny_model(folder, TinyShape(hidden=1024, layers=2))


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("hybrid", {"linear_attn.in_proj_ba", "mlp.gate", "mlp.shared_expert_gate"}),
        ("compressed", {"self_attn.embed_q", "self_attn.unembed_out", "self_attn.q_b_proj"}),
    ],
)
def test_experts_and_other_shapes_are_quantised_as_mlx_lm_does(tmp_path, name, kept):
    """Stacks of experts and of heads too; what chooses experts stays as it was, and what is too small or too narrow."""
    source = tmp_path / "source"
    source.mkdir()
    model = make_model(name, hidden_size=64, moe_intermediate_size=64)
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(source / "model.safetensors"), weights)
    (source / "config.json").write_text(json.dumps(vars(model.args)))
    save_tokenizer(source, byte_tokenizer())
    job = prepared(tmp_path / "job", source)

    made, _ = mlx_lm_utils.load_model(converted(job, kind="mxfp8"))

    reply = decode((job / REPLY_FILE).read_bytes(), ConversionReply)
    assert set(reply.layers.get("source", ())) == {f"model.layers.*.{path}" for path in kept}
    wanted, _ = mlx_lm_utils.quantize_model(
        model, {}, 32, 8, mode="mxfp8", quant_predicate=lambda path, _: not path.endswith(tuple(kept))
    )
    tokens = [5, 9, 33, 61, 80, 2, 17]
    assert numpy.abs(logits(made, tokens) - logits(wanted, tokens)).max() < 1e-5


# ---- adapters -------------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return make_tiny_model(folder, TinyShape())


def write_mlx_adapter(folder: Path, source: Path, keys: list[str]) -> Path:
    """An adapter of mlx-lm's own making, with numbers that matter."""
    folder.mkdir()
    parameters = {"rank": 4, "scale": SCALE, "dropout": 0.0, "keys": keys}
    model, _ = mlx_lm_utils.load_model(source)
    linear_to_lora_layers(model, 1, parameters)
    mx.random.seed(5)
    tensors = {
        name: mx.random.normal(array.shape) * 0.3
        for name, array in tree_flatten(model.parameters())
        if name.endswith((".lora_a", ".lora_b"))
    }
    mx.save_safetensors(str(folder / "adapters.safetensors"), tensors)
    config = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": parameters}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_an_added_adapter_is_what_mlx_lm_applies(tmp_path, source):
    """Logits in float32 within 1e-4 of mlx-lm's model with the same adapter beside its weights."""
    keys = ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"]
    job = prepared(tmp_path / "job", source)
    adapter = write_mlx_adapter(job / ADAPTER_FOLDER, source, keys)

    made = loaded(converted(job, has_adapter=True))

    plain, _ = mlx_lm_utils.load_model(source)
    expected = load_adapters(mlx_lm_utils.load_model(source)[0], str(adapter))
    tokens = made.tokenizer.encode(TEXT)
    assert numpy.abs(logits(made.model, tokens) - logits(expected, tokens)).max() < 1e-4
    assert numpy.abs(logits(plain, tokens) - logits(expected, tokens)).max() > 0.1
    assert "quantization" not in json.loads((job / OUTPUT_FOLDER / "config.json").read_text())


def test_an_adapter_of_experts_and_of_an_embedding_is_what_mlx_lm_applies(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    model = make_model("hybrid")
    mx.save_safetensors(str(source / "model.safetensors"), dict(tree_flatten(model.parameters())))
    (source / "config.json").write_text(json.dumps(vars(model.args)))
    save_tokenizer(source, byte_tokenizer())
    job = prepared(tmp_path / "job", source)
    adapter = write_mlx_adapter(job / ADAPTER_FOLDER, source, ["model.embed_tokens", "mlp.switch_mlp.up_proj"])

    made = loaded(converted(job, has_adapter=True))

    expected = load_adapters(mlx_lm_utils.load_model(source)[0], str(adapter))
    tokens = [5, 9, 33, 61, 80, 2, 17]
    assert numpy.abs(logits(made.model, tokens) - logits(expected, tokens)).max() < 1e-4


def test_an_adapter_of_peft_is_the_same_product(tmp_path, source):
    """PEFT keeps both matrices transposed, and a scale of lora_alpha / r."""
    own = write_mlx_adapter(tmp_path / "own", source, ["self_attn.q_proj"])
    job = prepared(tmp_path / "job", source)
    (job / ADAPTER_FOLDER).mkdir()
    tensors = {
        f"base_model.model.{name[:-7]}.lora_{name[-1].upper()}.weight": array.T
        for name, array in mx.load(str(own / "adapters.safetensors")).items()
    }
    mx.save_safetensors(str(job / ADAPTER_FOLDER / "adapter_model.safetensors"), tensors)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4 * SCALE, "target_modules": ["q_proj"]}
    (job / ADAPTER_FOLDER / "adapter_config.json").write_text(json.dumps(config))

    made = loaded(converted(job, has_adapter=True))

    expected = load_adapters(mlx_lm_utils.load_model(source)[0], str(own))
    tokens = made.tokenizer.encode(TEXT)
    assert numpy.abs(logits(made.model, tokens) - logits(expected, tokens)).max() < 1e-4


def test_an_adapter_and_quantising_go_together(tmp_path, source):
    job = prepared(tmp_path / "job", source)
    adapter = write_mlx_adapter(job / ADAPTER_FOLDER, source, ["self_attn.q_proj"])

    made = loaded(converted(job, has_adapter=True, kind="mxfp8"))

    expected = load_adapters(mlx_lm_utils.load_model(source)[0], str(adapter))
    tokens = made.tokenizer.encode(TEXT)
    one, other = logits(made.model, tokens), logits(expected, tokens)
    assert (one * other).sum() / numpy.linalg.norm(one) / numpy.linalg.norm(other) > 0.98


@pytest.mark.parametrize(
    ("shape", "words"),
    [({"hidden": 64}, "is for another model"), ({"layers": 4}, "which the model does not have")],
)
def test_an_adapter_for_another_model_is_told_so(tmp_path, source, shape, words):
    other = tmp_path / "other"
    other.mkdir()
    make_tiny_model(other, TinyShape(**shape))
    job = prepared(tmp_path / "job", source)
    write_mlx_adapter(job / ADAPTER_FOLDER, other, ["self_attn.q_proj"])

    with pytest.raises(InvalidModelFiles, match=words):
        converted(job, has_adapter=True)
