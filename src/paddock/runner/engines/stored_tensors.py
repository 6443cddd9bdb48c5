"""Weights that are stored one tensor at a time (`vetting/tensor_layers.py` says how), as arrays under MLX's names, and
networks packed as such weights are. All engines read them here."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm import utils as mlx_lm_utils

from paddock.errors import DamagedModel, InvalidModelFiles
from paddock.vetting.tensor_layers import FOLDER, Packing, read_one

_OTHER_FILES = 256
"""What a runner has open beside its weights, generously."""


def is_stored_by_tensor(folder: Path, part: str = "") -> bool:
    """Whether the weights of a model, or those of a part of an image model, are stored in this way."""
    return (folder / FOLDER / part).is_dir()


def open_stored(
    folder: Path, part: str = "", config: Mapping[str, Any] | None = None
) -> tuple[dict[str, mx.array], dict[str, Packing]]:
    """All tensors, not read yet, and how layers are packed as the files tell it. DamagedModel.

    Each file stays open until its tensors are computed; where the system does not let a process have so many open, they
    are read at once, which takes as much memory again.
    """
    paths = sorted((folder / FOLDER / part).glob("*.safetensors"))
    is_lazy = _may_open(len(paths))
    tensors: dict[str, mx.array] = {}
    packings: dict[str, Packing] = {}
    for path in paths:
        try:
            layer = read_one(path, path.relative_to(folder).as_posix(), config)
            found: Any = mx.load(str(path))
        except (InvalidModelFiles, RuntimeError, ValueError):
            raise DamagedModel(f"The tensor {path.stem} cannot be read: pull or create the model again.") from None
        if not is_lazy:
            mx.eval(found)
        tensors |= {layer.names[name]: array for name, array in found.items()}
        packings |= layer.packings
    return tensors, packings


def pack_as_stored(model: nn.Module, weights: Mapping[str, mx.array], packings: Mapping[str, Packing]) -> None:
    """Turn the layers whose weights have scales into quantised ones: in the way that fits the width of the layer, which
    has to be the one that was told. DamagedModel."""

    def how(path: str, module: nn.Module) -> bool | dict[str, Any]:
        if f"{path}.scales" not in weights:
            return False
        told = packings.get(path)
        try:
            found: dict[str, Any] = mlx_lm_utils.infer_quant_config(path, module, weights)
            if not hasattr(module, "to_quantized") or (told and told.as_settings() != found):
                raise ValueError
        except (ValueError, KeyError, AttributeError, IndexError, ZeroDivisionError):
            raise DamagedModel(
                f"The scales of {path} do not fit the layer that it is: pull or create the model again."
            ) from None
        return found

    nn.quantize(model, class_predicate=how)


def _may_open(count: int) -> bool:
    """Whether so many files can be open at once; the process's own limit is raised for it as far as it may."""
    needed = count + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return True
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):
        return False
    return True
