"""What a folder in diffusers' layout says about its model, read with bounds and vetted. It knows no MLX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.errors import DamagedModel, InvalidModelFiles
from paddock.vetting.image_folder import (
    AUTOENCODER,
    FLUX2_KLEIN,
    INDEX_FILE,
    SCHEDULER,
    TEXT_ENCODER,
    TOKENIZER,
    TRANSFORMER,
    Z_IMAGE,
    read_image_configs,
)

__all__ = [
    "AUTOENCODER",
    "FLUX2_KLEIN",
    "INDEX_FILE",
    "SCHEDULER",
    "TEXT_ENCODER",
    "TOKENIZER",
    "TRANSFORMER",
    "Z_IMAGE",
    "ModelFolder",
    "read_folder",
]

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
    """The configs of a folder. DamagedModel names the file that is missing or wrong, or would bring code;
    UnsupportedModel is for other pipelines."""
    files = {str(file.relative_to(path)): file for file in sorted(path.rglob("*")) if not file.is_dir()}
    try:
        found = read_image_configs(files)
    except InvalidModelFiles as error:
        raise DamagedModel(f"{error.message.rstrip('.')}; {_RECREATE}.") from None
    return ModelFolder(path, found.pipeline, found.index, found.configs)
