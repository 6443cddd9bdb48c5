"""Weights on disk: in several files, packed, and wrong."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.runner.engines.image.families import make_family
from paddock.runner.engines.image.folder import read_folder
from paddock.runner.engines.image.parts import Parts
from tests.runner.engines.image.tiny_folders import edit_config

INDEX = "diffusion_pytorch_model.safetensors.index.json"


def opened(folder: Path, **options: bool) -> Parts:
    checked = read_folder(folder)
    parts = Parts(checked, make_family(checked), **{"staged": False, **options})
    parts.load(lambda _progress: None)
    return parts


@pytest.fixture
def folder(tiny_z_image, tmp_path) -> Path:
    return shutil.copytree(tiny_z_image, tmp_path / "model")


def in_two_files(part: Path) -> dict[str, str]:
    """Divide a part's weights; returns the index's map."""
    whole = part / "diffusion_pytorch_model.safetensors"
    tensors = mx.load(str(whole))
    mx.eval(tensors)
    names = sorted(tensors)
    weight_map = {}
    for number, some in enumerate((names[::2], names[1::2]), start=1):
        file = f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        mx.save_safetensors(str(part / file), {name: tensors[name] for name in some})
        weight_map |= dict.fromkeys(some, file)
    whole.unlink()
    (part / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return weight_map


def packed(part: Path, *, bits: int, group_size: int = 32) -> None:
    """Quantise the layers of a part whose width allows it."""
    [path] = part.glob("*.safetensors")
    tensors = {}
    for name, tensor in mx.load(str(path)).items():
        layer = name.removesuffix(".weight")
        if tensor.ndim == 2 and layer != name and tensor.shape[-1] % group_size == 0:
            names = (name, f"{layer}.scales", f"{layer}.biases")
            tensors |= zip(names, mx.quantize(tensor, group_size, bits), strict=True)
        else:
            tensors[name] = tensor
    mx.eval(tensors)
    mx.save_safetensors(str(path), tensors)


def test_weights_in_several_files_are_found_by_their_index(folder, tiny_z_image):
    in_two_files(folder / "transformer")

    ours, expected = (opened(each).transformer().layers[0].feed_forward.w1.weight for each in (folder, tiny_z_image))
    assert mx.array_equal(ours, expected)


def test_a_file_that_the_index_names_has_to_be_there(folder):
    in_two_files(folder / "transformer")
    (folder / "transformer" / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()

    with pytest.raises(DamagedModel, match="00002-of-00002"):
        opened(folder)


def test_an_index_cannot_name_files_elsewhere(folder):
    weight_map = in_two_files(folder / "transformer")
    first = next(iter(weight_map))
    (folder / "transformer" / INDEX).write_text(
        json.dumps({"weight_map": weight_map | {first: "../vae/diffusion_pytorch_model.safetensors"}})
    )

    with pytest.raises(DamagedModel, match="no file of weights"):
        opened(folder)


def test_a_tensor_may_be_there_only_once(folder):
    part = folder / "transformer"
    shutil.copy(part / "diffusion_pytorch_model.safetensors", part / "diffusion_pytorch_model.fp16.safetensors")

    with pytest.raises(DamagedModel, match="same name"):
        opened(folder)


@pytest.mark.parametrize("bits", [8, 4])
def test_packed_weights_stay_packed_where_that_is_wanted(folder, bits):
    for part in ("transformer", "text_encoder"):
        packed(folder / part, bits=bits)
        edit_config(folder, f"{part}/config.json", quantization={"bits": bits, "group_size": 32})

    kept, dense = opened(folder, keep_packed=True), opened(folder)

    layer = kept.transformer().layers[0].feed_forward.w1
    assert layer.weight.dtype == mx.uint32
    assert kept.weights_bytes < dense.weights_bytes / (2 if bits == 8 else 3)
    unpacked = dense.transformer().layers[0].feed_forward.w1.weight
    rows = mx.random.normal((3, 64), key=mx.random.key(1))
    assert np.allclose(np.array(layer(rows)), np.array(rows @ unpacked.T), atol=1e-4)


@pytest.mark.parametrize("quantization", [None, {"bits": 5, "group_size": 32}, {"bits": 8, "mode": "mxfp8"}])
def test_weights_that_are_packed_in_another_way_are_refused(folder, quantization):
    packed(folder / "transformer", bits=8)
    edit_config(folder, "transformer/config.json", quantization=quantization)

    with pytest.raises(UnsupportedModel, match="quantised"):
        opened(folder)


def test_scales_of_something_that_is_no_layer_are_refused(folder):
    packed(folder / "transformer", bits=8)
    edit_config(folder, "transformer/config.json", quantization={"bits": 8, "group_size": 32})
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = {**mx.load(str(path)), "layers.0.attention_norm1.scales": mx.zeros((2,))}
    mx.eval(tensors)
    mx.save_safetensors(str(path), tensors)

    with pytest.raises(DamagedModel, match=r"attention_norm1.scales"):
        opened(folder)


@pytest.mark.parametrize("name", ["modeling.py", "transformer/weights.bin"])
def test_a_folder_that_brings_code_is_refused(folder, name):
    (folder / name).write_bytes(b"")

    with pytest.raises(DamagedModel, match="code"):
        opened(folder)


def test_the_text_encoder_leaves_out_what_no_state_needs(tiny_z_image):
    encoder = opened(tiny_z_image).text_encoder()

    assert len(encoder.model.layers) == 1, "of two: the second-to-last state is the first layer's"


def test_parts_are_in_memory_one_at_a_time_where_that_is_wanted(tiny_z_image):
    parts = opened(tiny_z_image, staged=True)

    assert (parts.has("text_encoder"), parts.has("transformer")) == (True, False)
    parts.transformer()
    assert (parts.has("text_encoder"), parts.has("transformer")) == (False, True)
    parts.text_encoder()
    assert (parts.has("text_encoder"), parts.has("transformer")) == (True, False)
