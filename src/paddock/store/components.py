"""What a stored model is made of, by what each part is for: its numbers and bytes, and how many of them are loaded.

Text models are told apart by the names of their tensors, image models by the folders of their parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.store.facts import ModelFacts
from paddock.store.images import ImageFacts, model_parts, with_packings
from paddock.store.tensors import parameter_count, quantization_level, weights_of
from paddock.vetting.image_folder import AUTOENCODER, TEXT_ENCODER, TRANSFORMER, read_image_configs
from paddock.vetting.model_config import CONFIG_FILE, read_config
from paddock.vetting.safetensors_header import Tensor

_SENSES = (
    ("vision", re.compile(r"(?:^|\.)(?:vision_\w+|visual|multi_modal_projector)\.")),
    ("audio", re.compile(r"(?:^|\.)audio_\w+\.")),
    ("prediction", re.compile(r"(?:^|\.)mtp\.")),
)
"""Parts that the text engine leaves out; the last foresees tokens of the model it belongs to."""
_EMBEDDINGS = re.compile(
    r"(?:^|\.)(?:embed_tokens\w*|tok_embeddings|word_embeddings|embeddings?|wte|wpe|lm_head|embed_out)\."
)
_MAIN = {"text": "text", "embedding": "encoder"}
_IMAGE_PARTS = {TEXT_ENCODER: "text encoder", TRANSFORMER: "transformer", AUTOENCODER: "VAE"}


@dataclass(frozen=True)
class Component:
    """One part of a model."""

    name: str
    """text | encoder | embeddings | vision | audio | prediction | draft; of an image model text encoder | transformer |
    VAE."""
    parameter_count: int
    size_bytes: int
    """As stored."""
    loaded_bytes: int
    """What of that an engine reads."""
    quantization_level: str
    """F32, F16, BF16, or for quantised weights int4, int8, mxfp4 ..."""


def components(files: Mapping[str, Path], facts: ModelFacts) -> tuple[Component, ...]:
    """The parts of a model of these files, the largest first, its draft model last. InvalidModelFiles."""
    found = _of_pictures(files, facts.image) if facts.image else _of_text(files, facts.engine)
    return (*sorted(found, key=lambda part: -part.size_bytes), *_draft(facts.draft))


def _of_text(files: Mapping[str, Path], engine: str) -> Iterator[Component]:
    found, config = weights_of(files, read_config(files[CONFIG_FILE]))
    grouped: dict[str, list[Tensor]] = {}
    for tensor in found:
        grouped.setdefault(_part_of(tensor.name, engine), []).append(tensor)
    left_out = {name for name, _ in _SENSES} if engine == "text" else set()
    for name, tensors in grouped.items():
        yield _component(name, tensors, config, 0 if name in left_out else _size_bytes(tensors))


def _part_of(tensor: str, engine: str) -> str:
    sense = next((name for name, pattern in _SENSES if pattern.search(tensor)), "")
    return sense or ("embeddings" if _EMBEDDINGS.search(tensor) else _MAIN[engine])


def _of_pictures(files: Mapping[str, Path], image: ImageFacts) -> Iterator[Component]:
    configs = with_packings(files, read_image_configs(files)).configs
    kept = {TEXT_ENCODER: image.text_encoder, TRANSFORMER: image.transformer, AUTOENCODER: image.autoencoder}
    for part, tensors in model_parts(files).items():
        yield _component(_IMAGE_PARTS[part], tensors, configs[part], kept[part].weights_bytes)


def _component(name: str, tensors: Sequence[Tensor], config: Mapping[str, Any], loaded_bytes: int) -> Component:
    return Component(
        name=name,
        parameter_count=parameter_count(tensors, config),
        size_bytes=_size_bytes(tensors),
        loaded_bytes=loaded_bytes,
        # The config speaks of all parts, but a tower may have been left as it was.
        quantization_level=quantization_level(tensors, config if _is_packed(tensors) else {}),
    )


def _draft(facts: ModelFacts | None) -> Iterator[Component]:
    if facts:
        size_bytes = facts.weights_bytes
        yield Component("draft", facts.parameter_count, size_bytes, size_bytes, facts.quantization_level)


def _is_packed(tensors: Iterable[Tensor]) -> bool:
    return any(tensor.name.endswith(".scales") for tensor in tensors)


def _size_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)
