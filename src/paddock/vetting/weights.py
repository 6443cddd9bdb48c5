"""Whether a set of files holds the whole weights of one model, and weights that its config.json can mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from paddock.errors import InvalidModelFiles
from paddock.vetting.model_config import read_config, sizes
from paddock.vetting.safetensors_header import Tensor, read_header

INDEX_FILE = "model.safetensors.index.json"
MAX_INDEX_BYTES = 64 * 1024 * 1024

_MAIN_WEIGHTS = re.compile(r"model[A-Za-z0-9_.+@=, -]{0,199}\.safetensors")
_LAYER_WEIGHTS = re.compile(r"\d{1,2}_[A-Za-z]{1,40}/model\.safetensors")
"""Of a layer behind an encoder, in a folder of its own: 2_Dense/model.safetensors."""
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
    layers = [name for name in files if is_layer_weights(name)]
    weights = [name for name in files if name.lower().endswith(".safetensors") and name not in layers]
    if not weights and INDEX_FILE not in files:
        raise InvalidModelFiles("There are no weights among the model's files: model.safetensors is missing.")
    for name in weights:
        if not is_main_weights(name):
            raise InvalidModelFiles(
                f"The file {name} is not a part of the model: weights are named model*.safetensors."
            )
    tensors_by_file = {name: read_header(files[name], name) for name in weights}
    names_by_file = {name: {tensor.name for tensor in tensors} for name, tensors in tensors_by_file.items()}
    if sum(map(len, names_by_file.values())) != len(set().union(*names_by_file.values())):
        raise InvalidModelFiles("Two of the safetensors files hold a tensor of the same name.")
    if INDEX_FILE in files:
        _check_index(files[INDEX_FILE], names_by_file)
    tensors_by_file |= {name: read_header(files[name], name) for name in layers}  # each with names of its own
    return [tensor for tensors in tensors_by_file.values() for tensor in tensors]


def check_parameters(config: Mapping[str, Any], tensors: Iterable[Tensor]) -> None:
    """Refuse a config whose sizes need far more parameters than the files hold: its engine would allocate for them.

    Counted are the embedding and one square matrix per layer, which every text model has at the least.
    """
    found = sizes(config)
    width = found.get("embedding_length", 0)
    needed = width * found.get("vocab_size", 0) + width * width * found.get("block_count", 0)
    held = sum(tensor.element_count * _MOST_NUMBERS_IN_ONE.get(tensor.dtype, 1) for tensor in tensors)
    if needed > max(held * _SHORT_BY, _HARMLESS_COUNT):
        raise InvalidModelFiles("The file config.json describes a model that is far larger than its weights.")


def _check_index(path: Path, tensors_by_file: Mapping[str, set[str]]) -> None:
    """Every tensor of the index is in the file where it should be."""
    weight_map = read_config(path, INDEX_FILE, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidModelFiles(f"The file {INDEX_FILE} has no weight_map.")
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or not is_main_weights(file):
            raise InvalidModelFiles(f"The file {INDEX_FILE} names something that is no file of weights.")
        if file not in tensors_by_file:
            raise InvalidModelFiles(f"The file {file} is missing: {INDEX_FILE} names it.")
        if tensor not in tensors_by_file[file]:
            raise InvalidModelFiles(f"The file {file} lacks a tensor that {INDEX_FILE} says it has.")
