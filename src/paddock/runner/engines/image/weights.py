"""A part's weights from its folder into its layers: strictly by name and shape, packed ones as they are packed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from paddock.errors import DamagedModel, InvalidModelFiles, UnsupportedModel
from paddock.runner.engines.stored_tensors import is_stored_by_tensor, open_stored
from paddock.vetting.model_config import read_config
from paddock.vetting.safetensors_header import read_header

Tensors = dict[str, mx.array]

_SUFFIX = ".safetensors"
_INDEX_SUFFIX = ".safetensors.index.json"
_MAX_INDEX_BYTES = 64 * 1024 * 1024
_GROUP_BYTES = 64 * 1024 * 1024
"""Weights are read in groups of about this size, which is how fine progress is."""
_PACKINGS = frozenset((bits, group) for bits in (4, 8) for group in (32, 64, 128))


def read_part(folder: Path, part: str) -> Tensors:
    """All tensors of a part of the model in this folder by name, still on disk. DamagedModel names the file that is
    missing or wrong."""
    return open_stored(folder, part)[0] if is_stored_by_tensor(folder, part) else read_tensors(folder / part)


def read_tensors(folder: Path) -> Tensors:
    """All tensors of a part by name, still on disk. DamagedModel names the file that is missing or wrong."""
    try:
        files = _weight_files(folder)
        names = [tensor.name for path in files for tensor in read_header(path, f"{folder.name}/{path.name}")]
    except InvalidModelFiles as error:
        raise _damaged(error.message.rstrip(".")) from None
    if len(names) != len(set(names)):
        raise _damaged(f"Two files in {folder.name} hold a tensor of the same name")
    loaded: list[Any] = [mx.load(str(path)) for path in files]
    return {name: tensor for tensors in loaded for name, tensor in tensors.items()}


def _weight_files(folder: Path) -> list[Path]:
    """The files that the index names, or all where there is none."""
    indexes = sorted(folder.glob(f"*{_INDEX_SUFFIX}"))
    if not indexes:
        files = sorted(folder.glob(f"*{_SUFFIX}"))
    else:
        name = f"{folder.name}/{indexes[0].name}"
        weight_map = read_config(indexes[0], name, _MAX_INDEX_BYTES).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
            raise InvalidModelFiles(f"The file {name} has no weight_map.")
        files = [folder / file for file in sorted(set(weight_map.values()))]
    for path in files:
        if path.parent != folder or path.suffix != _SUFFIX or not path.is_file():
            raise InvalidModelFiles(f"The file {folder.name}/{path.name} is missing or is no file of weights.")
    if not files:
        raise InvalidModelFiles(f"There are no weights in {folder.name}.")
    return files


def pack(module: nn.Module, config: Mapping[str, Any], tensors: Tensors) -> None:
    """Make packed layers of those that the checkpoint has packed, as the part's config says: its "quantization" has
    "bits" and "group_size", of MLX's affine kind."""
    packed = {name.removesuffix(".scales") for name in tensors if name.endswith(".scales")}
    packing = config.get("quantization")
    if not packed and packing is None:
        return
    if not isinstance(packing, dict) or packing.get("mode", "affine") != "affine":
        raise UnsupportedModel("The weights are quantised in a way that this version of Paddock does not know.")
    bits, group_size = packing.get("bits", 0), packing.get("group_size", 0)
    if (bits, group_size) not in _PACKINGS:
        raise UnsupportedModel("Image models are quantised to 8 or 4 bits in groups of 32, 64 or 128.")
    layers = dict(module.named_modules())
    for name in packed:
        width = layers[name].weight.shape[-1] if isinstance(layers.get(name), nn.Linear | nn.Embedding) else 1
        if width % group_size:
            raise _damaged(f"The tensor {name}.scales belongs to no layer that can be quantised")
    nn.quantize(module, group_size, bits, class_predicate=lambda name, _module: name in packed)


def fill(module: nn.Module, tensors: Tensors, *, part: str, kind: mx.Dtype, kept: frozenset[str] = frozenset()) -> None:
    """Give a module its weights, in the type `kind` save for those in `kept`. Nothing is computed or read yet.

    Every tensor has to be known and every parameter given, each in its shape: DamagedModel names the first that is not.
    Convolutions' kernels are turned from PyTorch's order [out, in, height, width] into MLX's [out, height, width, in].
    """
    kernels = {f"{name}.weight" for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)}
    expected = dict(tree_flatten(module.parameters()))
    if missing := sorted(expected.keys() - tensors.keys()):
        raise _damaged(f"The part {part} lacks {len(missing)} tensors, {missing[0]} first")
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise _damaged(f"The part {part} has {len(unknown)} tensors that are unknown to it, {unknown[0]} first")
    weights = []
    for name, parameter in expected.items():
        tensor = tensors[name]
        if name in kernels and tensor.ndim == 4:
            tensor = tensor.transpose(0, 2, 3, 1)
        if tensor.shape != parameter.shape or _is_floating(tensor) != _is_floating(parameter):
            raise _damaged(f"In the part {part} the tensor {name} is not of the shape that its config.json gives")
        weights.append((name, tensor.astype(kind) if _is_floating(tensor) and name not in kept else tensor))
    module.load_weights(weights)


def bring_in(module: nn.Module, tell: Callable[[int], None]) -> int:
    """Read the weights into memory, group by group, and tell the bytes that are there. Returns them all."""
    done_bytes, waiting_bytes, waiting = 0, 0, []
    arrays = arrays_of(module)
    for array in arrays:
        waiting.append(array)
        waiting_bytes += array.nbytes
        if waiting_bytes >= _GROUP_BYTES or array is arrays[-1]:
            mx.eval(waiting)
            done_bytes += waiting_bytes
            waiting_bytes, waiting = 0, []
            tell(done_bytes)
    mx.clear_cache()
    return done_bytes


def arrays_of(module: nn.Module) -> list[mx.array]:
    """All weights of a module."""
    return [array for _, array in tree_flatten(module.parameters())]


def rename(tensors: Tensors, new_name: Callable[[str], str], needs: Callable[[str], bool]) -> Tensors:
    """The tensors that are needed, by their new names."""
    renamed = {new_name(name): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in renamed.items() if needs(name)}


def _is_floating(array: mx.array) -> bool:
    return bool(mx.issubdtype(array.dtype, mx.floating))


def _damaged(problem: str) -> DamagedModel:
    return DamagedModel(f"{problem}: pull or create the model again.")
