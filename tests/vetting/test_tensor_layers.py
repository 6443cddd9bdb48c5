"""Files of one tensor: what they may hold, and how they say that it is packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paddock.errors import InvalidModelFiles, UnsupportedModel
from paddock.vetting import tensor_layers
from paddock.vetting.tensor_layers import FOLDER, Packing, StoredTensors, file_of, read_all, read_one
from tests.store.making import safetensors_bytes

NAME = "model.layers.0.mlp.up_proj.weight"
MODULE = NAME.removesuffix(".weight")
BYTES = {"U32": 4, "U8": 1, "BF16": 2, "F16": 2, "F32": 4}
Shape = list[int]
AFFINE: dict[str, tuple[str, Shape]] = {
    NAME: ("U32", [8, 16]),
    f"{NAME}.scale": ("BF16", [8, 2]),
    f"{NAME}.bias": ("BF16", [8, 2]),
}
NVFP4: dict[str, tuple[str, Shape]] = {NAME: ("U32", [8, 16]), f"{NAME}.scale": ("U8", [8, 8])}
INT4 = {"quant_type": "int4", "group_size": "64"}


def layer_file(
    folder: Path, tensors: dict[str, tuple[str, Shape]], metadata: dict[str, str] | None = None, name: str = NAME
) -> dict[str, Path]:
    """A file of a model with these tensors, of zeros; by its name."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata is not None else {}
    end = 0
    for each, (dtype, shape) in tensors.items():
        size = BYTES[dtype]
        for side in shape:
            size *= side
        header[each] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    file = file_of(name)
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(safetensors_bytes(header, bytes(end)))
    return {file: path}


def read(folder: Path, *arguments: Any, config: dict[str, Any] | None = None, **options: Any) -> StoredTensors:
    return read_all(layer_file(folder, *arguments, **options), config=config)


def test_a_plain_tensor_is_told_as_it_is(tmp_path: Path) -> None:
    found = read(tmp_path, {NAME: ("BF16", [8, 4])})

    assert [(tensor.name, tensor.shape) for tensor in found.tensors] == [(NAME, (8, 4))]
    assert not found.packings


def test_a_packed_tensor_is_told_in_mlxs_words(tmp_path: Path) -> None:
    found = read(tmp_path, AFFINE, INT4)

    assert {tensor.name for tensor in found.tensors} == {f"{MODULE}.{kind}" for kind in ("weight", "scales", "biases")}
    assert found.packings == {MODULE: Packing("affine", 4, 64)}


def test_the_bias_of_a_layer_is_not_that_of_its_packing(tmp_path: Path) -> None:
    bias = MODULE + ".bias"

    assert [tensor.name for tensor in read(tmp_path, {bias: ("BF16", [8])}, name=bias).tensors] == [bias]


def test_a_tensor_that_happens_to_be_a_scale_stays_one(tmp_path: Path) -> None:
    name = "model.layers.0.altup.correct_output_scale"

    assert [tensor.name for tensor in read(tmp_path, {name: ("F32", [8])}, name=name).tensors] == [name]


@pytest.mark.parametrize(
    ("tensors", "metadata", "expected"),
    [
        (AFFINE, {"quant_type": "INT4", "group_size": "64"}, Packing("affine", 4, 64)),
        (AFFINE, {"quant_type": "q4"}, Packing("affine", 4, 64)),
        (AFFINE, {"quant_type": "fp8", "group_size": "32"}, Packing("affine", 8, 32)),
        (AFFINE, {f"{NAME}.quant_type": "int4", f"{NAME}.group_size": "64"}, Packing("affine", 4, 64)),
        (AFFINE, {"quant_type": "int8", f"{NAME}.quant_type": "int4"}, Packing("affine", 4, 64)),
        (AFFINE, None, Packing("affine", 4, 64)),
        (AFFINE | {f"{NAME}.scale": ("F16", [8, 1]), f"{NAME}.bias": ("F16", [8, 1])}, None, Packing("affine", 8, 64)),
        (NVFP4, {"quant_type": "nvfp4", "group_size": "16"}, Packing("nvfp4", 4, 16)),
        (NVFP4, None, Packing("nvfp4", 4, 16)),
        (NVFP4 | {f"{NAME}.scale": ("U8", [8, 4])}, {}, Packing("mxfp4", 4, 32)),
        (NVFP4 | {f"{NAME}.scale": ("U8", [8, 2])}, {}, Packing("mxfp8", 8, 32)),
    ],
)
def test_the_packing_is_what_is_told_or_what_fits(
    tmp_path: Path, tensors: dict[str, tuple[str, Shape]], metadata: dict[str, str] | None, expected: Packing
) -> None:
    assert read(tmp_path, tensors, metadata).packings == {MODULE: expected}


def test_a_config_knows_better_how_single_layers_are_packed(tmp_path: Path) -> None:
    tensors = AFFINE | {f"{NAME}.scale": ("BF16", [8, 1]), f"{NAME}.bias": ("BF16", [8, 1])}
    config = {"quantization": {"bits": 4, "group_size": 64, MODULE: {"bits": 8, "group_size": 64}}}

    assert read(tmp_path, tensors, INT4, config=config).packings == {MODULE: Packing("affine", 8, 64)}


def test_a_group_holds_all_whose_names_begin_with_its_own(tmp_path: Path) -> None:
    group = "model.layers.0.mlp.experts"
    tensors = {f"{group}.{number}.up_proj.weight": ("BF16", [8, 4]) for number in range(3)}

    assert len(read(tmp_path, tensors, name=group).tensors) == 3


def test_experts_may_be_packed_in_one_tensor_that_is_no_weight(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    tensors = {name: ("U32", [2, 8, 16]), f"{name}.scale": ("U8", [2, 8, 8])}

    found = read(tmp_path, tensors, {"quant_type": "nvfp4"}, name=name)

    assert {tensor.name for tensor in found.tensors} == {f"{name}.weight", f"{name}.scales"}


def test_parts_of_image_models_are_told_apart(tmp_path: Path) -> None:
    files = layer_file(tmp_path, {"norm.weight": ("F32", [4])}, name="transformer/norm.weight")
    files |= layer_file(tmp_path, {"vae/norm.weight": ("F32", [4])}, name="vae/norm.weight")
    files |= layer_file(tmp_path, {"data": ("F32", [4])}, name="vae/early.weight")

    assert [tensor.name for tensor in read_all(files, "transformer").tensors] == ["norm.weight"]
    assert [tensor.name for tensor in read_all(files, "vae").tensors] == ["early.weight", "norm.weight"]
    assert not read_all(files).tensors


def test_a_config_tells_what_most_numbers_are(tmp_path: Path) -> None:
    files = layer_file(tmp_path, AFFINE, INT4)
    small = "small.weight"
    scales = {f"{small}.scale": ("BF16", [2, 1]), f"{small}.bias": ("BF16", [2, 1])}
    files |= layer_file(tmp_path, {small: ("U32", [2, 16]), **scales}, {"quant_type": "int8"}, small)

    config = read_all(files).with_packings({"a": 1, "quantization_config": {"bits": 3}})

    assert config == {
        "a": 1,
        "quantization": {
            "bits": 4,
            "group_size": 64,
            "mode": "affine",
            MODULE: {"bits": 4, "group_size": 64, "mode": "affine"},
            "small": {"bits": 8, "group_size": 64, "mode": "affine"},
        },
    }


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc/passwd", "transformer/../x", "transformer/vae/x", "x" * 300, "a\\b", "a b",
     "a\nb", "\N{FULLWIDTH FULL STOP}", ".hidden", "transformer/", "tensors/x"],
)  # fmt: skip
def test_names_that_are_no_tensors_make_no_file(name: str) -> None:
    with pytest.raises(InvalidModelFiles, match="named as no tensor is"):
        file_of(name)


@pytest.mark.parametrize(
    ("tensors", "metadata", "problem"),
    [
        ({"other.weight": ("F32", [4])}, None, "another name than its own"),
        ({NAME: ("F32", [4]), "model.norm.weight": ("F32", [4])}, None, "another name than its own"),
        ({"data": ("F32", [4]), NAME: ("F32", [4])}, None, "another name than its own"),
        (AFFINE, {"quant_type": "int7"}, "packed in a way that is not known"),
        (AFFINE, {"quant_type": "q3_k_m"}, "packed in a way that is not known"),
        (AFFINE, {"quant_type": "int4", "group_size": "48"}, "groups of a size that is not known"),
        (AFFINE, {"quant_type": "int4", "group_size": "-1"}, "groups of a size that is not known"),
        (AFFINE, {"quant_type": "int4", "group_size": "9" * 5000}, "groups of a size that is not known"),
        (AFFINE, {"quant_type": "int8", "group_size": "64"}, "do not fit how it is packed"),
        (AFFINE, {"quant_type": "nvfp4"}, "do not fit how it is packed"),
        (NVFP4, {"quant_type": "int4"}, "do not fit how it is packed"),
        (NVFP4, {"quant_type": "mxfp4"}, "do not fit how it is packed"),
        (NVFP4 | {f"{NAME}.scale": ("U8", [8, 3])}, None, "do not fit how it is packed"),
        (NVFP4 | {f"{NAME}.scale": ("U8", [8, 0])}, None, "do not fit how it is packed"),
        (NVFP4 | {f"{NAME}.scale": ("U8", [4, 8])}, None, "do not fit it"),
        (NVFP4 | {f"{NAME}.scale": ("BF16", [8, 8])}, None, "do not fit it"),
        (NVFP4 | {NAME: ("F32", [8, 16])}, None, "do not fit it"),
        (NVFP4 | {NAME: ("U32", [0, 16]), f"{NAME}.scale": ("U8", [0, 8])}, None, "do not fit it"),
        ({NAME: ("U32", [16]), f"{NAME}.scale": ("U8", [8])}, None, "do not fit it"),
        (AFFINE | {f"{NAME}.bias": ("F32", [8, 2])}, None, "do not fit it"),
        (AFFINE | {f"{NAME}.bias": ("BF16", [8, 4])}, None, "do not fit it"),
        (AFFINE | {f"{MODULE}.scales": ("BF16", [8, 2])}, None, "another name than its own"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, tensors: dict[str, tuple[str, Shape]], metadata: dict[str, str] | None, problem: str
) -> None:
    with pytest.raises(InvalidModelFiles, match=problem):
        read(tmp_path, tensors, metadata)


def test_a_group_cannot_give_two_tensors_one_name(tmp_path: Path) -> None:
    tensors = AFFINE | {f"{MODULE}.scales": ("BF16", [8, 2])}

    with pytest.raises(InvalidModelFiles, match="holds a tensor twice"):
        read(tmp_path, tensors, name="model.layers.0.mlp")


def test_two_layers_cannot_hold_the_same_tensor(tmp_path: Path) -> None:
    files = layer_file(tmp_path, {NAME: ("F32", [4])})
    files |= layer_file(tmp_path, {NAME: ("F32", [4])}, name="model.layers.0")

    with pytest.raises(InvalidModelFiles, match="Two of the model's layers hold"):
        read_all(files)


def test_scales_for_whole_tensors_are_not_supported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel):
        read(tmp_path, NVFP4 | {f"{NAME}.global_scale": ("F32", [])})


def test_there_is_a_most_of_layers_and_of_bytes_of_a_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = layer_file(tmp_path, {NAME: ("F32", [4])}) | layer_file(tmp_path, {"a": ("F32", [4])}, name="a")

    monkeypatch.setattr(tensor_layers, "MAX_LAYERS", 1)
    with pytest.raises(InvalidModelFiles, match="more than 1 layers"):
        read_all(files)

    monkeypatch.setattr(tensor_layers, "MAX_HEADER_BYTES", 10)
    with pytest.raises(InvalidModelFiles, match="header of more than 10 bytes"):
        read_one(files[f"{FOLDER}a.safetensors"], f"{FOLDER}a.safetensors")


@pytest.mark.parametrize("data", [b"", b"GGUF0000", b"\xff" * 8, safetensors_bytes(b"{}", b"x"), b"\0" * 100])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)

    with pytest.raises(InvalidModelFiles, match=r"The file tensors/a\.safetensors"):
        read_one(path, f"{FOLDER}a.safetensors")
