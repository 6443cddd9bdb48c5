"""What a folder in diffusers' layout says about its model, read with bounds and vetted. It knows no MLX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.errors import DamagedModel, InvalidModelFiles, UnsupportedModel
from paddock.vetting.code import check_references, refuse_code_file
from paddock.vetting.model_config import read_config
from paddock.vetting.settings import check_settings

INDEX_FILE = "model_index.json"
TEXT_ENCODER = "text_encoder"
TOKENIZER = "tokenizer"
TRANSFORMER = "transformer"
AUTOENCODER = "vae"
SCHEDULER = "scheduler"

_CONFIGS: Mapping[str, str] = {
    TEXT_ENCODER: "config.json",
    TRANSFORMER: "config.json",
    AUTOENCODER: "config.json",
    SCHEDULER: "scheduler_config.json",
}
Z_IMAGE = "ZImagePipeline"
FLUX2_KLEIN = "Flux2KleinPipeline"
_PART_CLASSES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    Z_IMAGE: {
        TEXT_ENCODER: ("Qwen3Model", "Qwen3ForCausalLM"),
        TRANSFORMER: ("ZImageTransformer2DModel",),
        AUTOENCODER: ("AutoencoderKL",),
    },
    FLUX2_KLEIN: {
        TEXT_ENCODER: ("Qwen3Model", "Qwen3ForCausalLM"),
        TRANSFORMER: ("Flux2Transformer2DModel",),
        AUTOENCODER: ("AutoencoderKLFlux2",),
    },
}
_MOST_LAYERS = 1024
_LARGEST_NUMBER = 10_000_000
"""No size of a real model is beyond it, and a hostile one would have layers built without end."""
_RECREATE = "pull or create the model again"


@dataclass(frozen=True)
class ModelFolder:
    """A checked folder: the pipeline's class and the configs of its parts."""

    path: Path
    pipeline: str
    index: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]]
    """By part."""


def read_folder(path: Path) -> ModelFolder:
    """The configs of a folder. DamagedModel names the file that is missing or wrong; UnsupportedModel is for other
    pipelines and for models that bring code."""
    files = {str(file.relative_to(path)): file for file in sorted(path.rglob("*")) if not file.is_dir()}
    try:
        for name in files:
            refuse_code_file(name)
        index = _read(files, INDEX_FILE)
        configs = {part: _read(files, f"{part}/{file}") for part, file in _CONFIGS.items()}
        check_settings(files)
    except InvalidModelFiles as error:
        raise DamagedModel(f"{error.message.rstrip('.')}; {_RECREATE}.") from None
    _check_classes(index)
    for part, config in configs.items():
        _check_numbers(config, part)
    return ModelFolder(path, index["_class_name"], index, configs)


def _read(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    if name not in files:
        raise DamagedModel(f"{name} is missing: {_RECREATE}.")
    config = read_config(files[name], name)
    check_references(config, name, may_be_mapped=True)
    return config


def _check_classes(index: Mapping[str, Any]) -> None:
    pipeline = str(index.get("_class_name"))
    if pipeline not in _PART_CLASSES:
        raise UnsupportedModel(f"The pipeline {pipeline} is not supported: Z-Image and FLUX.2 Klein are.")
    for part, classes in _PART_CLASSES[pipeline].items():
        entry = index.get(part)
        found = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if found not in classes:
            raise UnsupportedModel(f"{found} as the part {part} of a {pipeline} is not supported by this version.")


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
            raise DamagedModel(f"The config of {name} gives a {key} of {value}, which no model has; {_RECREATE}.")
