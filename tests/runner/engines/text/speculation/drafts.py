"""Draft models for the tiny one: itself, one that is nearly it, and one that has nothing to do with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlx.core as mx


def perturbed(model: Path, folder: Path, share: float, seed: int = 3) -> Path:
    """A copy whose weights are mixed with noise of their own size; a share of 1 leaves nothing of them."""
    shutil.copytree(model, folder)
    mx.random.seed(seed)
    weights = mx.load(str(model / "model.safetensors"))
    mixed = {
        name: (1 - share) * array + share * mx.std(array) * mx.random.normal(array.shape)
        for name, array in weights.items()
    }
    mx.save_safetensors(str(folder / "model.safetensors"), mixed, metadata={"format": "mlx"})
    return folder
