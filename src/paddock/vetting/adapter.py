"""What a stranger's adapter changes: read from its two files, without touching its numbers.

Low-rank adapters of linear layers in two forms are known: mlx-lm's (`adapters.safetensors`, of which `lora_a` has the
shape [in, rank]) and PEFT's (`adapter_model.safetensors`, of which `lora_A` has the shape [rank, in]).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.errors import InvalidModelFiles
from paddock.vetting.model_config import read_config
from paddock.vetting.safetensors_header import Tensor, read_header

ADAPTER_CONFIG = "adapter_config.json"
MLX_WEIGHTS = "adapters.safetensors"
PEFT_WEIGHTS = "adapter_model.safetensors"
MAX_ADAPTER_BYTES = 16 * 1024**3

_MLX_TENSOR = re.compile(r"(.+)\.lora_([ab])")
_PEFT_TENSOR = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight")
_FLOATS = ("F32", "F16", "BF16")
_PEFT_CHANGES = ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save")
"""Keys of PEFT's config under which an adapter is more than a product of two matrices, unless they are false."""


@dataclass(frozen=True)
class LowRank:
    """What is added to one layer: `scale` times the product of two tensors of the adapter."""

    layer: str
    """As the adapter calls it."""
    a: Tensor
    b: Tensor
    scale: float
    is_peft: bool

    def shape(self, *, is_embedding: bool = False) -> tuple[int, ...]:
        """Of what is added, which is that of the layer's weight: [out, in], of experts [experts, out, in], of an
        embedding [tokens, width]."""
        if self.is_peft or len(self.a.shape) == 3:
            return (*self.b.shape[:-1], self.a.shape[-1])
        return (self.a.shape[0], self.b.shape[-1]) if is_embedding else (self.b.shape[-1], self.a.shape[0])


@dataclass(frozen=True)
class Adapter:
    """An adapter's layers, and the file that has their numbers."""

    weights: str
    layers: tuple[LowRank, ...]
    size_bytes: int


def read_adapter(files: Mapping[str, Path]) -> Adapter:
    """The adapter in these files, by name. InvalidModelFiles for anything but a plain low-rank one."""
    weights = [name for name in (MLX_WEIGHTS, PEFT_WEIGHTS) if name in files]
    if ADAPTER_CONFIG not in files or len(files) != 2 or not weights:
        raise InvalidModelFiles(f"An adapter is {ADAPTER_CONFIG} and {MLX_WEIGHTS}, or PEFT's {PEFT_WEIGHTS}.")
    (name,) = weights
    config = read_config(files[ADAPTER_CONFIG], ADAPTER_CONFIG)
    tensors = read_header(files[name], name)
    is_peft = name == PEFT_WEIGHTS
    scale = _peft_scale(config) if is_peft else _mlx_scale(config)
    layers = tuple(_layers(tensors, name, scale, config.get("r") if is_peft else None))
    if not layers:
        raise InvalidModelFiles(f"The file {name} changes no layer.")
    return Adapter(name, layers, sum(tensor.size_bytes for tensor in tensors))


def _mlx_scale(config: Mapping[str, Any]) -> float:
    kind = config.get("fine_tune_type", "lora")
    if kind != "lora":
        raise InvalidModelFiles(f"The adapter is of the kind {str(kind)[:40]}: only plain LoRA can be applied.")
    parameters = config.get("lora_parameters")
    return _number(parameters.get("scale") if isinstance(parameters, dict) else None, "lora_parameters.scale")


def _peft_scale(config: Mapping[str, Any]) -> float:
    """lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora, as PEFT has it."""
    if config.get("peft_type") != "LORA":
        raise InvalidModelFiles(
            f"The adapter is of the kind {str(config.get('peft_type'))[:40]}: only plain LoRA can be applied."
        )
    more = [key for key in _PEFT_CHANGES if config.get(key)]
    if config.get("bias", "none") != "none":
        more.append("bias")
    if more:
        raise InvalidModelFiles(f"The adapter uses {more[0]}, which is not applied here: merge it with PEFT first.")
    rank = _number(config.get("r"), "r")
    if rank < 1:
        raise InvalidModelFiles(f"The file {ADAPTER_CONFIG} gives a rank of {rank}, which no adapter has.")
    return _number(config.get("lora_alpha"), "lora_alpha") / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e6:
        raise InvalidModelFiles(f"The file {ADAPTER_CONFIG} gives no usable number for {key}.")
    return float(value)


def _layers(tensors: Iterable[Tensor], name: str, scale: float, rank: int | None) -> Iterable[LowRank]:
    """`rank` is the one that the scale follows from, of an adapter of PEFT."""
    is_peft = rank is not None
    pattern = _PEFT_TENSOR if is_peft else _MLX_TENSOR
    pairs: dict[str, dict[str, Tensor]] = {}
    for tensor in tensors:
        found = pattern.fullmatch(tensor.name)
        if found is None or tensor.dtype not in _FLOATS:
            raise InvalidModelFiles(f"The file {name} holds {tensor.name[:200]}, which is no part of a plain LoRA.")
        pairs.setdefault(found[1], {})[found[2].lower()] = tensor
    for layer, pair in pairs.items():
        if pair.keys() != {"a", "b"} or not _fit(pair["a"], pair["b"], rank):
            raise InvalidModelFiles(f"The file {name} has two tensors for {layer[:200]} that do not fit each other.")
        yield LowRank(layer, pair["a"], pair["b"], scale, is_peft)


def _fit(a: Tensor, b: Tensor, rank: int | None) -> bool:
    """Whether they can be multiplied: [in, r] and [r, out]; PEFT's [r, in] and [out, r], with the rank that it tells;
    of experts, [n, r, in] and [n, out, r]."""
    if len(a.shape) == 3 and len(b.shape) == 3 and rank is None:
        return a.shape[0] == b.shape[0] and a.shape[1] == b.shape[2]
    if len(a.shape) != 2 or len(b.shape) != 2:
        return False
    return a.shape[1] == b.shape[0] if rank is None else a.shape[0] == b.shape[1] == rank
