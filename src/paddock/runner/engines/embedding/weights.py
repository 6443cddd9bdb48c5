"""Tensors of safetensors files into a module, strictly: all that the module has, and nothing that nobody knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from paddock.errors import DamagedModel
from paddock.runner.engines.base import Report
from paddock.runner.engines.stored_tensors import is_stored_by_tensor, open_stored

_GROUP_BYTES = 64 * 1024 * 1024
"""Weights are read in groups of about this size, which is how fine progress is."""
_OLD_NAMES = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
"""Of checkpoints that were once converted from TensorFlow."""


def open_tensors(folder: Path) -> dict[str, mx.array]:
    """All tensors of a folder's `model*.safetensors`, or of those that are stored one by one, by name and not read yet.
    DamagedModel."""
    if is_stored_by_tensor(folder):
        return open_stored(folder)[0]
    tensors: dict[str, mx.array] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        try:
            found = mx.load(str(path))
        except (RuntimeError, ValueError):
            raise DamagedModel(f"{path.name} cannot be read: pull or create the model again.") from None
        assert isinstance(found, dict), "what safetensors files are read as"
        tensors |= found
    return tensors


def own_names(
    tensors: Mapping[str, mx.array], prefixes: Sequence[str], not_needed: tuple[str, ...]
) -> dict[str, mx.array]:
    """Tensors under the names that our modules have: without the prefix of a model with a head, without what is left
    out. A name ends up here whatever it is: what is unknown is told by `fit`."""
    found = {}
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        short = name.removeprefix(prefix)
        for old, new in _OLD_NAMES:
            short = short.removesuffix(old) + new if short.endswith(old) else short
        if not short.startswith(not_needed):
            found[short] = tensor
    return found


def fit(module: nn.Module, tensors: Mapping[str, mx.array]) -> None:
    """Put tensors into a module. DamagedModel names the first that is missing, unknown or of another shape."""
    wanted = dict(tree_flatten(module.parameters()))
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise _misfit(f"{len(missing)} are missing, {missing[0]} first")
    if unknown := sorted(tensors.keys() - wanted.keys()):
        raise _misfit(f"{len(unknown)} are unknown to its architecture, {unknown[0]} first")
    for name in sorted(wanted):
        if wanted[name].shape != tensors[name].shape:
            raise _misfit(f"{name} has the shape {tensors[name].shape} in place of {wanted[name].shape}")
    module.load_weights(list(tensors.items()), strict=True)


def _misfit(how: str) -> DamagedModel:
    return DamagedModel(f"The model's tensors do not fit its config.json: {how}.")


def read_all(modules: Sequence[nn.Module], report: Report) -> int:
    """Bring all weights into memory, on the CPU as float32, group by group. Returns their bytes."""
    if mx.default_device() == mx.cpu:
        # MLX computes half precision on the CPU several times slower than single.
        for module in modules:
            module.set_dtype(mx.float32)
    arrays = [array for module in modules for _, array in tree_flatten(module.parameters())]
    total_bytes, done_bytes, group = sum(array.nbytes for array in arrays), 0, list[mx.array]()
    for index, array in enumerate(arrays):
        group.append(array)
        group_bytes = sum(each.nbytes for each in group)
        if group_bytes >= _GROUP_BYTES or index + 1 == len(arrays):
            mx.eval(group)
            done_bytes += group_bytes
            group = []
            report(0.05 + 0.95 * done_bytes / max(1, total_bytes))
    mx.clear_cache()
    return total_bytes
