"""An image model in diffusers' layout: which pipelines are known, what each is made of, and what configs may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.errors import InvalidModelFiles, UnsupportedModel
from paddock.vetting.code import check_references, refuse_code_file
from paddock.vetting.model_config import read_config
from paddock.vetting.settings import check_settings

INDEX_FILE = "model_index.json"
TEXT_ENCODER = "text_encoder"
TOKENIZER = "tokenizer"
TRANSFORMER = "transformer"
AUTOENCODER = "vae"
SCHEDULER = "scheduler"

PARTS = (TEXT_ENCODER, TOKENIZER, TRANSFORMER, AUTOENCODER, SCHEDULER)
"""The folders of a model; files elsewhere are not its own, but for the index."""
WEIGHTED_PARTS = (TEXT_ENCODER, TRANSFORMER, AUTOENCODER)

_CONFIGS: Mapping[str, str] = {
    TEXT_ENCODER: "config.json",
    TRANSFORMER: "config.json",
    AUTOENCODER: "config.json",
    SCHEDULER: "scheduler_config.json",
}
Z_IMAGE = "ZImagePipeline"
FLUX2_KLEIN = "Flux2KleinPipeline"
_SCHEDULES = ("FlowMatchEulerDiscreteScheduler",)
_PART_CLASSES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    Z_IMAGE: {
        TEXT_ENCODER: ("Qwen3Model", "Qwen3ForCausalLM"),
        TRANSFORMER: ("ZImageTransformer2DModel",),
        AUTOENCODER: ("AutoencoderKL",),
        SCHEDULER: _SCHEDULES,
    },
    FLUX2_KLEIN: {
        TEXT_ENCODER: ("Qwen3Model", "Qwen3ForCausalLM"),
        TRANSFORMER: ("Flux2Transformer2DModel",),
        AUTOENCODER: ("AutoencoderKLFlux2",),
        SCHEDULER: _SCHEDULES,
    },
}
_LIBRARIES = ("diffusers", "transformers")
"""Where the classes of an index come from; anything else would be code that the model brings along."""
_MOST_LAYERS = 1024
_LARGEST_NUMBER = 10_000_000
"""No size of a real model is beyond it, and a hostile one would have layers built without end."""


@dataclass(frozen=True)
class ImageConfigs:
    """What the small files of a folder say."""

    pipeline: str
    """The class of it, as diffusers calls it."""
    index: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]]
    """By part; the tokenizer has none."""


def read_image_configs(files: Mapping[str, Path]) -> ImageConfigs:
    """The index and the configs among these files, by name. InvalidModelFiles names the file that is missing or wrong;
    UnsupportedModel is for pipelines, and classes of their parts, that no engine knows."""
    for name in files:
        refuse_code_file(name)
    index = _read(files, INDEX_FILE)
    pipeline = _known_pipeline(index)
    configs = {part: _read(files, f"{part}/{file}") for part, file in _CONFIGS.items()}
    check_settings(files)
    for part, config in configs.items():
        _check_numbers(config, f"{part}/{_CONFIGS[part]}")
    return ImageConfigs(pipeline, index, configs)


def _read(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    if name not in files:
        raise InvalidModelFiles(f"The file {name} is missing.")
    config = read_config(files[name], name)
    # Diffusers writes where it found a class; no class of a model is ever looked for, so it means nothing here.
    check_references(config, name, may_be_mapped=True)
    return config


def _known_pipeline(index: Mapping[str, Any]) -> str:
    # Ollama's models name it by another key.
    pipeline = str(index.get("_class_name") or index.get("architecture"))[:100]
    if pipeline not in _PART_CLASSES:
        raise UnsupportedModel(
            f"The pipeline {pipeline} in {INDEX_FILE} is not supported: Z-Image and FLUX.2 Klein are."
        )
    for part, classes in _PART_CLASSES[pipeline].items():
        found = _class_of(index, part)
        if found not in classes:
            raise UnsupportedModel(
                f"{found} as the part {part} in {INDEX_FILE} of a {pipeline} is not supported by this version."
            )
    for part in index:
        if part not in PARTS and _class_of(index, part):
            raise UnsupportedModel(
                f"The part {part[:100]} in {INDEX_FILE} of a {pipeline} is not supported by this version."
            )
    return pipeline


def _class_of(index: Mapping[str, Any], part: str) -> str | None:
    """The class of a part; None if the entry names none. InvalidModelFiles for a class of the model's own."""
    entry = index.get(part)
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], str):
        return None
    if entry[0] not in _LIBRARIES:
        raise InvalidModelFiles(
            f"The file {INDEX_FILE} names code to run for its part {part[:100]}: models that need code are refused."
        )
    return entry[1][:100]


def _check_numbers(value: object, name: str, key: str = "") -> None:
    """Refuse sizes that no model has."""
    if isinstance(value, dict):
        for inner_key, inner in value.items():
            _check_numbers(inner, name, inner_key)
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(inner, name, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        most = _MOST_LAYERS if "layers" in key else _LARGEST_NUMBER
        if not -_LARGEST_NUMBER <= value <= most:
            raise InvalidModelFiles(f"The file {name} gives a {key} of {value}, which no model has.")
