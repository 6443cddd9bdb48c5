"""Whether a set of files holds the whole weights of one model, and weights that its config.json can mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paddock.errors import InvalidModelFiles
from paddock.vetting.model_config import CONFIG_FILE, read_config, sizes
from paddock.vetting.safetensors_header import Tensor, read_header
from paddock.vetting.tensor_layers import read_all, tensor_files

INDEX_FILE = "model.safetensors.index.json"
MAX_INDEX_BYTES = 64 * 1024 * 1024

_MAIN_WEIGHTS = re.compile(r"model[A-Za-z0-9_.+@=, -]{0,199}\.safetensors")
_LAYER_WEIGHTS = re.compile(r"\d{1,2}_[A-Za-z]{1,40}/model\.safetensors")
"""Of a layer behind an encoder, in a folder of its own: 2_Dense/model.safetensors."""
_PART_WEIGHTS = re.compile(r"(model|diffusion_pytorch_model)[A-Za-z0-9_.+@=, -]{0,199}\.safetensors")
"""Of a part of an image model, in its own folder: transformers' name or diffusers'."""
_INDEX_SUFFIX = ".safetensors.index.json"
_MOST_NUMBERS_IN_ONE = {"U32": 16, "U8": 2}
"""Quantised weights lie packed in these: 16 of 2 bits, 2 of 4 bits."""
_SHORT_BY = 4
_HARMLESS_COUNT = 16 * 1024 * 1024
"""Up to so many missing parameters nothing can go wrong, and tiny models are of odd shapes."""


def is_main_weights(name: str) -> bool:
    """The engine loads `model*.safetensors` and nothing else."""
    return bool(_MAIN_WEIGHTS.fullmatch(name))


def is_layer_weights(name: str) -> bool:
    """Whether these are weights of a layer that sentence-transformers puts behind an encoder."""
    return bool(_LAYER_WEIGHTS.fullmatch(name))


def check_weights(files: Mapping[str, Path]) -> list[Tensor]:
    """All tensors of a model with these files, by name; reads nothing but headers and the index."""
    if tensor_files(files):
        return _check_tensor_files(files)
    layers = [name for name in files if is_layer_weights(name)]
    weights = [name for name in files if name.lower().endswith(".safetensors") and name not in layers]
    if not weights and INDEX_FILE not in files:
        raise InvalidModelFiles("There are no weights among the model's files: model.safetensors is missing.")
    for name in weights:
        if not is_main_weights(name):
            raise InvalidModelFiles(
                f"The file {name} is not a part of the model: weights are named model*.safetensors."
            )
    tensors_by_file = _headers(files, weights)
    if INDEX_FILE in files:
        _check_index(files[INDEX_FILE], INDEX_FILE, tensors_by_file, is_main_weights)
    tensors_by_file |= {name: read_header(files[name], name) for name in layers}  # each with names of its own
    return [tensor for tensors in tensors_by_file.values() for tensor in tensors]


def check_part_weights(files: Mapping[str, Path], part: str) -> list[Tensor]:
    """All tensors of a part of an image model, whose files are in a folder of its name; nothing but headers and the
    index is read. InvalidModelFiles."""
    inside = [name for name in files if name.startswith(f"{part}/")]
    if tensor_files(files):
        return _check_tensor_files(files, part)
    weights = [name for name in inside if name.lower().endswith(".safetensors")]
    indexes = [name for name in inside if name.endswith(_INDEX_SUFFIX)]
    if not weights and not indexes:
        raise InvalidModelFiles(f"There are no weights of the part {part}: {part}/*.safetensors is missing.")
    if len(indexes) > 1:
        raise InvalidModelFiles(f"The part {part} has two indexes of its weights: leave out {indexes[1]}.")
    for name in weights:
        if not _is_part_weights(name):
            raise InvalidModelFiles(
                f"The file {name} is not a part of the model: weights are named model*.safetensors or "
                "diffusion_pytorch_model*.safetensors."
            )
    tensors_by_file = _headers(files, weights)
    if indexes:
        named = _check_index(files[indexes[0]], indexes[0], tensors_by_file, _is_part_weights)
        if unnamed := sorted(tensors_by_file.keys() - named):
            raise InvalidModelFiles(f"The file {unnamed[0]} is not a part of the model: {indexes[0]} does not name it.")
    return [tensor for tensors in tensors_by_file.values() for tensor in tensors]


def _check_tensor_files(files: Mapping[str, Path], part: str = "") -> list[Tensor]:
    """Of a model, or of a part of one, that is stored one tensor at a time. It has no weights beside these."""
    own = tensor_files(files)
    others = {name for name in files if name.lower().endswith(".safetensors")}.difference(own)
    misplaced = [name for name in own if (name.count("/") > 1) != bool(part)]
    if found := [*sorted(others), *misplaced]:
        raise InvalidModelFiles(f"The file {found[0]} is not a part of the model: its weights are stored one by one.")
    tensors = read_all(files, part, _own_config(files, part)).tensors
    if not tensors:
        raise InvalidModelFiles(f"There are no weights of the part {part} among the model's tensors.")
    return list(tensors)


def _own_config(files: Mapping[str, Path], part: str) -> dict[str, Any]:
    name = f"{part}/{CONFIG_FILE}" if part else CONFIG_FILE
    return read_config(files[name], name) if name in files else {}


def _is_part_weights(name: str) -> bool:
    return bool(_PART_WEIGHTS.fullmatch(name.rpartition("/")[2]))


def _headers(files: Mapping[str, Path], weights: Iterable[str]) -> dict[str, tuple[Tensor, ...]]:
    """The tensors of each file; none may be in two of them."""
    tensors_by_file = {name: read_header(files[name], name) for name in weights}
    names = [tensor.name for tensors in tensors_by_file.values() for tensor in tensors]
    if len(names) != len(set(names)):
        where = next(iter(tensors_by_file)).rpartition("/")[0]
        inside = f" in {where}" if where else ""
        raise InvalidModelFiles(f"Two of the safetensors files{inside} hold a tensor of the same name.")
    return tensors_by_file


def check_parameters(config: Mapping[str, Any], tensors: Iterable[Tensor], name: str = CONFIG_FILE) -> None:
    """Refuse a config, of the file `name`, whose sizes need far more parameters than the files hold: its engine would
    allocate for them.

    Counted are the embedding and one square matrix per layer, which every transformer has at the least.
    """
    found = sizes(config)
    width = found.get("embedding_length", 0)
    needed = width * found.get("vocab_size", 0) + width * width * found.get("block_count", 0)
    held = sum(tensor.element_count * _MOST_NUMBERS_IN_ONE.get(tensor.dtype, 1) for tensor in tensors)
    if needed > max(held * _SHORT_BY, _HARMLESS_COUNT):
        raise InvalidModelFiles(f"The file {name} describes a model that is far larger than its weights.")


def _check_index(
    path: Path, name: str, tensors_by_file: Mapping[str, Sequence[Tensor]], is_weights: Callable[[str], bool]
) -> set[str]:
    """Every tensor of the index is in the file where it should be, beside the index; returns these files."""
    weight_map = read_config(path, name, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidModelFiles(f"The file {name} has no weight_map.")
    names_by_file = {file: {tensor.name for tensor in tensors} for file, tensors in tensors_by_file.items()}
    folder = name.removesuffix(name.rpartition("/")[2])
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or "/" in file or not is_weights(file):
            raise InvalidModelFiles(f"The file {name} names something that is no file of weights.")
        if folder + file not in names_by_file:
            raise InvalidModelFiles(f"The file {folder}{file} is missing: {name} names it.")
        if tensor not in names_by_file[folder + file]:
            raise InvalidModelFiles(f"The file {folder}{file} lacks a tensor that {name} says it has.")
    return {folder + file for file in weight_map.values()}
