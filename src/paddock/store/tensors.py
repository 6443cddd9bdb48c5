"""How many numbers tensors hold, in which format, and the bytes they take in others: from headers alone. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paddock.vetting.safetensors_header import Tensor, read_header
from paddock.vetting.tensor_layers import read_all, tensor_files

_FLOATS = {"F32", "F16", "BF16", "F8_E4M3"}
_DENSE = frozenset({"F32", "F16", "BF16"})
_FLOAT_MODES = frozenset({"mxfp4", "mxfp8", "nvfp4"})
_EXPERT = re.compile(r"\.experts\.\d+\.")

Config = Mapping[str, Any]


def all_tensors(files: Mapping[str, Path]) -> Iterable[Tensor]:
    """Of all safetensors files among these. InvalidModelFiles."""
    yield from weights_of(files, {})[0]


def weights_of(files: Mapping[str, Path], config: Config, part: str = "") -> tuple[list[Tensor], Config]:
    """The tensors of a model of these files, or of a part of an image model, and its config, which tells how they are
    packed: of a model that is stored one tensor at a time its tensors themselves do. InvalidModelFiles."""
    if tensor_files(files):
        stored = read_all(files, part, config)
        return list(stored.tensors), stored.with_packings(config)
    own = [name for name in files if name.endswith(".safetensors") and (not part or name.partition("/")[0] == part)]
    return [tensor for name in own for tensor in read_header(files[name], name)], config


def human_count(count: int) -> str:
    """A number of parameters as Ollama writes it: 494.03M, 7.6B, 70B."""
    for unit, letter, digits in ((10**12, "T", 1), (10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            return f"{count // unit}{letter}" if count % unit == 0 else f"{count / unit:.{digits}f}{letter}"
    return str(count)


def half_bytes(tensor: Tensor) -> int:
    """With all that is floating in 16 bits."""
    return tensor.element_count * 2 if tensor.dtype in _DENSE else tensor.size_bytes


def float32_bytes(tensor: Tensor) -> int:
    """With all that is floating in 32 bits."""
    return tensor.size_bytes * 2 if tensor.dtype in ("F16", "BF16") else tensor.size_bytes


def dense_bytes(found: Sequence[Tensor], config: Config) -> int:
    """In float32, with every packed number a number of its own; 0 where a tensor is packed in another way than MLX's
    own ones, which have whole words of 32 bits for weights, and beside them scales and biases, or scales of 8 bits."""
    settings = _quantization(config)
    default_bits = _bits(settings, 0)
    types = {tensor.name: tensor.dtype for tensor in found}
    size_bytes = 0
    for tensor in found:
        layer, _, kind = tensor.name.rpartition(".")
        is_packed = f"{layer}.scales" in types and kind in ("weight", "scales", "biases")
        if not is_packed and tensor.dtype not in _DENSE:
            return 0
        if not is_packed:
            size_bytes += float32_bytes(tensor)
        elif kind == "weight":
            bits = _bits(settings.get(layer), default_bits)
            if tensor.dtype != "U32" or not bits or not _is_known(_mode(settings, layer), layer, types):
                return 0
            size_bytes += tensor.element_count * 32 // bits * 4
    return size_bytes


def _mode(settings: Config, layer: str) -> object:
    """That of one layer: MLX takes settings of its own for all there is to say of it."""
    own = settings.get(layer)
    return (own if isinstance(own, dict) else settings).get("mode", "affine")


def _is_known(mode: object, layer: str, types: Mapping[str, str]) -> bool:
    """Whether a layer has beside its weights what this way of packing needs, and nothing else."""
    if mode == "affine":
        return f"{layer}.biases" in types
    return mode in _FLOAT_MODES and f"{layer}.biases" not in types and types[f"{layer}.scales"] == "U8"


def largest_bytes(found: Iterable[Tensor]) -> int:
    """Of the largest tensor, as stored; the experts of one layer count as one."""
    sizes_bytes = Counter[str]()
    for tensor in found:
        sizes_bytes[_EXPERT.sub(".experts.", tensor.name)] += tensor.size_bytes
    return max(sizes_bytes.values(), default=0)


def _quantization(config: Config) -> Config:
    """MLX's own quantisation settings: bits, mode, and settings of single layers under their names."""
    settings = config.get("quantization")
    return settings if isinstance(settings, dict) else {}


def _bits(settings: object, default: int) -> int:
    bits = settings.get("bits") if isinstance(settings, dict) else None
    return bits if type(bits) is int and 1 <= bits <= 32 else default


def parameter_count(found: Sequence[Tensor], config: Config) -> int:
    """Numbers that the model has learned: packed weights counted one by one, their scales and biases not at all."""
    settings = _quantization(config)
    default_bits = _bits(settings, 32)
    packed = {tensor.name.removesuffix(".scales") for tensor in found if tensor.name.endswith(".scales")}
    count = 0
    for tensor in found:
        layer, _, kind = tensor.name.rpartition(".")
        if layer not in packed:
            count += tensor.element_count
        elif kind == "weight":
            count += tensor.element_count * 32 // _bits(settings.get(layer), default_bits)
        elif kind not in ("scales", "biases"):
            count += tensor.element_count
    return count


def quantization_level(found: Iterable[Tensor], config: Config) -> str:
    """F32, F16, BF16, or for quantised weights int4, int8, mxfp4 ..., by what most bytes are."""
    settings = _quantization(config)
    mode = settings.get("mode", "affine")
    if settings and isinstance(mode, str):
        return f"int{_bits(settings, 32)}" if mode == "affine" else mode
    bytes_by_type = Counter[str]()
    for tensor in found:
        if tensor.dtype in _FLOATS:
            bytes_by_type[tensor.dtype] += tensor.size_bytes
    return bytes_by_type.most_common(1)[0][0] if bytes_by_type else "unknown"
