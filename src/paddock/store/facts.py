"""What a model is, from its own files: kind, sizes, number formats, abilities. Pure reading, without MLX."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.errors import InvalidModelFiles
from paddock.store.capabilities import text_capabilities
from paddock.store.encoders import encoder_capability, is_encoder
from paddock.store.layers import Layers, read_layers
from paddock.vetting.model_config import CONFIG_FILE, check_config, read_config, sizes, text_part
from paddock.vetting.safetensors_header import Tensor, read_header

IMAGE_INDEX_FILE = "model_index.json"
_SENTENCE_FILES = {"modules.json", "config_sentence_transformers.json"}
_FLOATS = {"F32", "F16", "BF16", "F8_E4M3"}


@dataclass(frozen=True)
class ModelFacts:
    """What listings, `show` and the choice of an engine need to know of a model."""

    engine: str
    """text | embedding | image"""
    family: str
    """The architecture, as config.json's model_type."""
    families: tuple[str, ...]
    parameter_count: int
    parameter_size: str
    """The count for people: 7.6B."""
    quantization_level: str
    """F32, F16, BF16, or for quantised weights int4, int8, mxfp4 …"""
    context_length: int
    """In tokens; 0 where the model does not say."""
    embedding_length: int
    weights_bytes: int
    """As stored, without what the engine leaves out."""
    capabilities: tuple[str, ...]
    format: str = "safetensors"
    block_count: int = 0
    """Layers; with the two below, what the memory of a context follows from. 0 where the model does not say."""
    head_count_kv: int = 0
    """Heads of keys and values in a layer."""
    head_dim: int = 0
    layers: Layers | None = None
    """What each layer of a text model keeps and computes; None where its config does not say."""
    float32_bytes: int = 0
    """Of the weights that the engine keeps, once all that is floating is float32."""
    dense_bytes: int = 0
    """As above with quantised weights as float32 too; 0 where it is not known how they are packed."""
    largest_tensor_bytes: int = 0
    """As stored; the experts of one layer, which the engine stacks, count as one."""
    draft: ModelFacts | None = None
    """Of the smaller model that foresees its tokens."""


def read_facts(files: Mapping[str, Path]) -> ModelFacts:
    """The facts of a model of these files, by name. InvalidModelFiles in one sentence if they make none."""
    engine = recognise_engine(files)
    config = {} if engine == "image" else _checked_config(files)
    if engine != "image" and is_encoder(files, config):
        engine = "embedding"
    found = list(_all_tensors(files))
    kept = [tensor for tensor in found if engine != "text" or not _LEFT_OUT.search(tensor.name)]
    count = _parameter_count(found, config)
    family = str(text_part(config).get("model_type") or config.get("model_type") or engine)
    return ModelFacts(
        engine=engine,
        family=family,
        families=(family,),
        parameter_count=count,
        parameter_size=human_count(count),
        quantization_level=_quantization_level(found, config),
        context_length=sizes(config).get("context_length", 0),
        embedding_length=sizes(config).get("embedding_length", 0),
        weights_bytes=sum(tensor.size_bytes for tensor in kept),
        capabilities=_capabilities(engine, config, files),
        block_count=sizes(config).get("block_count", 0),
        head_count_kv=_head_count_kv(config),
        head_dim=_head_dim(config),
        layers=read_layers(config) if engine != "image" else None,
        float32_bytes=sum(map(_float32_bytes, kept)),
        dense_bytes=_dense_bytes(kept, config) if engine == "text" else 0,
        largest_tensor_bytes=_largest_bytes(kept),
    )


def _capabilities(engine: str, config: Mapping[str, Any], files: Mapping[str, Path]) -> tuple[str, ...]:
    if engine == "text":
        return text_capabilities(files)
    return (encoder_capability(config) if engine == "embedding" else engine,)


def recognise_engine(files: Iterable[str]) -> str:
    """Which kind of engine runs a model of files of these names."""
    names = set(files)
    if IMAGE_INDEX_FILE in names:
        return "image"
    return "embedding" if names & _SENTENCE_FILES else "text"


def model_info(files: Mapping[str, Path]) -> dict[str, object]:
    """The `model_info` of /api/show: `general.…`, and the config's sizes below the name of the architecture."""
    config = {} if recognise_engine(files) == "image" else _checked_config(files)
    facts = read_facts(files)
    general: dict[str, object] = {
        "general.architecture": facts.family,
        "general.parameter_count": facts.parameter_count,
    }
    return general | {f"{facts.family}.{word}": size for word, size in sizes(config).items()}


def tensors(files: Mapping[str, Path]) -> list[dict[str, object]]:
    """Name, type and shape of every tensor, by name: what a verbose /api/show lists."""
    found = sorted(_all_tensors(files), key=lambda tensor: tensor.name)
    return [{"name": tensor.name, "type": tensor.dtype, "shape": list(tensor.shape)} for tensor in found]


def human_count(count: int) -> str:
    """A number of parameters as Ollama writes it: 494.03M, 7.6B, 70B."""
    for unit, letter, digits in ((10**12, "T", 1), (10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            return f"{count // unit}{letter}" if count % unit == 0 else f"{count / unit:.{digits}f}{letter}"
    return str(count)


def _checked_config(files: Mapping[str, Path]) -> dict[str, Any]:
    if CONFIG_FILE not in files:
        raise InvalidModelFiles("There is no config.json among the model's files.")
    config = read_config(files[CONFIG_FILE])
    check_config(config)
    return config


def _head_count_kv(config: Mapping[str, Any]) -> int:
    """Without a number of their own there are as many as heads of queries."""
    found = sizes(config)
    return found.get("attention.head_count_kv", found.get("attention.head_count", 0))


def _head_dim(config: Mapping[str, Any]) -> int:
    """Given, or the model's width shared out among the heads of queries."""
    given = text_part(config).get("head_dim")
    if type(given) is int and 0 < given <= 65_536:
        return given
    found = sizes(config)
    return found.get("embedding_length", 0) // max(1, found.get("attention.head_count", 0))


def _all_tensors(files: Mapping[str, Path]) -> Iterable[Tensor]:
    for name, path in files.items():
        if name.endswith(".safetensors"):
            yield from read_header(path, name)


_LEFT_OUT = re.compile(r"(?:^|\.)(?:vision_\w+|visual|audio_\w+|multi_modal_projector|mtp)\.")
"""Parts of other senses, and of guessing ahead, which mlx-lm's text models do not load."""
_DENSE = frozenset({"F32", "F16", "BF16"})
_EXPERT = re.compile(r"\.experts\.\d+\.")


def _float32_bytes(tensor: Tensor) -> int:
    return tensor.size_bytes * 2 if tensor.dtype in ("F16", "BF16") else tensor.size_bytes


def _dense_bytes(found: list[Tensor], config: Mapping[str, Any]) -> int:
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
            size_bytes += _float32_bytes(tensor)
        elif kind == "weight":
            bits = _bits(settings.get(layer), default_bits)
            if tensor.dtype != "U32" or not bits or not _is_affine(settings, layer) or f"{layer}.biases" not in names:
                return 0
            size_bytes += tensor.element_count * 32 // bits * 4
    return size_bytes


def _is_affine(settings: Mapping[str, Any], layer: str) -> bool:
    own = settings.get(layer)
    modes = (settings.get("mode", "affine"), own.get("mode", "affine") if isinstance(own, dict) else "affine")
    return modes == ("affine", "affine")


def _largest_bytes(found: list[Tensor]) -> int:
    sizes_bytes = Counter[str]()
    for tensor in found:
        sizes_bytes[_EXPERT.sub(".experts.", tensor.name)] += tensor.size_bytes
    return max(sizes_bytes.values(), default=0)


def _quantization(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """MLX's own quantisation settings: bits, mode, and settings of single layers under their names."""
    settings = config.get("quantization")
    return settings if isinstance(settings, dict) else {}


def _bits(settings: object, default: int) -> int:
    bits = settings.get("bits") if isinstance(settings, dict) else None
    return bits if type(bits) is int and 1 <= bits <= 32 else default


def _parameter_count(found: list[Tensor], config: Mapping[str, Any]) -> int:
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


def _quantization_level(found: list[Tensor], config: Mapping[str, Any]) -> str:
    settings = _quantization(config)
    mode = settings.get("mode", "affine")
    if settings and isinstance(mode, str):
        return f"int{_bits(settings, 32)}" if mode == "affine" else mode
    bytes_by_type = Counter[str]()
    for tensor in found:
        if tensor.dtype in _FLOATS:
            bytes_by_type[tensor.dtype] += tensor.size_bytes
    return bytes_by_type.most_common(1)[0][0] if bytes_by_type else "unknown"
