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
from paddock.store.images import IMAGE_CAPABILITIES, ImageFacts, model_parts, read_image_facts, with_packings
from paddock.store.layers import Layers, read_layers
from paddock.store.tensors import (
    all_tensors,
    dense_bytes,
    float32_bytes,
    human_count,
    largest_bytes,
    parameter_count,
    quantization_level,
    weights_of,
)
from paddock.vetting.image_folder import INDEX_FILE, read_image_configs
from paddock.vetting.model_config import CONFIG_FILE, check_config, read_config, sizes, text_part

_SENTENCE_FILES = {"modules.json", "config_sentence_transformers.json"}


@dataclass(frozen=True)
class ModelFacts:
    """What listings, `show` and the choice of an engine need to know of a model."""

    engine: str
    """text | embedding | image"""
    family: str
    """The architecture, as config.json's model_type; of an image model the class of its pipeline."""
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
    image: ImageFacts | None = None
    """Of an image model, what else there is to know."""


def read_facts(files: Mapping[str, Path]) -> ModelFacts:
    """The facts of a model of these files, by name. InvalidModelFiles in one sentence if they make none;
    UnsupportedModel for an image model whose pipeline no engine knows."""
    if recognise_engine(files) == "image":
        return _image_model(files)
    config: Mapping[str, Any] = _checked_config(files)
    is_text = recognise_engine(files) == "text" and not is_encoder(files, config)
    found, config = weights_of(files, config)
    kept = [tensor for tensor in found if not is_text or not _LEFT_OUT.search(tensor.name)]
    count = parameter_count(found, config)
    family = str(text_part(config).get("model_type") or config.get("model_type"))
    return ModelFacts(
        engine="text" if is_text else "embedding",
        family=family,
        families=(family,),
        parameter_count=count,
        parameter_size=human_count(count),
        quantization_level=quantization_level(found, config),
        context_length=sizes(config).get("context_length", 0),
        embedding_length=sizes(config).get("embedding_length", 0),
        weights_bytes=sum(tensor.size_bytes for tensor in kept),
        capabilities=text_capabilities(files) if is_text else (encoder_capability(config),),
        block_count=sizes(config).get("block_count", 0),
        head_count_kv=_head_count_kv(config),
        head_dim=_head_dim(config),
        layers=read_layers(config),
        float32_bytes=sum(map(float32_bytes, kept)),
        dense_bytes=dense_bytes(kept, config) if is_text else 0,
        largest_tensor_bytes=largest_bytes(kept),
    )


def _image_model(files: Mapping[str, Path]) -> ModelFacts:
    """All of its parts are one model: their parameters and bytes together, its number format that of most bytes."""
    configs = read_image_configs(files)
    configs = with_packings(files, configs)
    parts = model_parts(files)
    image = read_image_facts(configs, parts)
    held = (image.text_encoder, image.transformer, image.autoencoder)
    count = sum(parameter_count(tensors, configs.configs[part]) for part, tensors in parts.items())
    bytes_by_level = Counter[str]()
    for part, tensors in parts.items():
        level = quantization_level(tensors, configs.configs[part])
        bytes_by_level[level] += sum(tensor.size_bytes for tensor in tensors)
    return ModelFacts(
        engine="image",
        family=configs.pipeline,
        families=(configs.pipeline,),
        parameter_count=count,
        parameter_size=human_count(count),
        quantization_level=bytes_by_level.most_common(1)[0][0],
        context_length=image.text_tokens,
        embedding_length=0,
        weights_bytes=sum(part.weights_bytes for part in held),
        capabilities=IMAGE_CAPABILITIES,
        float32_bytes=sum(part.float32_bytes for part in held),
        dense_bytes=sum(part.dense_bytes for part in held) if all(part.dense_bytes for part in held) else 0,
        largest_tensor_bytes=max(part.largest_tensor_bytes for part in held),
        image=image,
    )


def recognise_engine(files: Iterable[str]) -> str:
    """Which kind of engine runs a model of files of these names."""
    names = set(files)
    if INDEX_FILE in names:
        return "image"
    return "embedding" if names & _SENTENCE_FILES else "text"


def model_info(files: Mapping[str, Path]) -> dict[str, object]:
    """The `model_info` of /api/show: `general.…`, and below the name of the architecture the config's sizes; of an
    image model what a request gets that asks for nothing."""
    facts = read_facts(files)
    general: dict[str, object] = {
        "general.architecture": facts.family,
        "general.parameter_count": facts.parameter_count,
    }
    if facts.image:
        words = ("width", "height", "steps", "guidance", "cell", "side_most", "references_most")
        return general | {f"{facts.family}.{word}": getattr(facts.image, word) for word in words}
    return general | {f"{facts.family}.{word}": size for word, size in sizes(_checked_config(files)).items()}


def tensors(files: Mapping[str, Path]) -> list[dict[str, object]]:
    """Name, type and shape of every tensor, by name: what a verbose /api/show lists. Those of an image model have their
    part before their name."""
    named = ((tensor.name, tensor) for tensor in all_tensors(files))
    if recognise_engine(files) == "image":
        named = ((f"{part}/{tensor.name}", tensor) for part, found in model_parts(files).items() for tensor in found)
    found = sorted(named, key=lambda pair: pair[0])
    return [{"name": name, "type": tensor.dtype, "shape": list(tensor.shape)} for name, tensor in found]


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


_LEFT_OUT = re.compile(r"(?:^|\.)(?:vision_\w+|visual|audio_\w+|multi_modal_projector|mtp)\.")
"""Parts of other senses, and of guessing ahead, which mlx-lm's text models do not load."""
