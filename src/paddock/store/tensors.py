"""How many numbers tensors hold, in which format, and the bytes they take in others: from headers alone. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paddock.vetting.safetensors_header import Tensor, read_header

_FLOATS = {"F32", "F16", "BF16", "F8_E4M3"}
_DENSE = frozenset({"F32", "F16", "BF16"})
_EXPERT = re.compile(r"\.experts\.\d+\.")

Config = Mapping[str, Any]


def all_tensors(files: Mapping[str, Path]) -> Iterable[Tensor]:
    """Of all safetensors files among these. InvalidModelFiles."""
    for name, path in files.items():
        if name.endswith(".safetensors"):
            yield from read_header(path, name)


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
    affine one, which has whole words of 32 bits for weights, and scales and biases beside them."""
    settings = _quantization(config)
    default_bits = _bits(settings, 0)
    names = {tensor.name for tensor in found}
    size_bytes = 0
    for tensor in found:
        layer, _, kind = tensor.name.rpartition(".")
        is_packed = f"{layer}.scales" in names and kind in ("weight", "scales", "biases")
        if not is_packed and tensor.dtype not in _DENSE:
            return 0
        if not is_packed:
            size_bytes += float32_bytes(tensor)
        elif kind == "weight":
            bits = _bits(settings.get(layer), default_bits)
            if tensor.dtype != "U32" or not bits or not _is_affine(settings, layer) or f"{layer}.biases" not in names:
                return 0
            size_bytes += tensor.element_count * 32 // bits * 4
    return size_bytes


def _is_affine(settings: Config, layer: str) -> bool:
    own = settings.get(layer)
    modes = (settings.get("mode", "affine"), own.get("mode", "affine") if isinstance(own, dict) else "affine")
    return modes == ("affine", "affine")


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
