"""What a low-rank adapter adds to the weights of a layer, a few rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import SwitchLinear

from paddock.errors import InvalidModelFiles
from paddock.vetting.adapter import LowRank, read_adapter

_WRAPPERS = ("", "language_model.")
"""What mlx-lm puts before the names of a model of several towers."""


@dataclass(frozen=True)
class Added:
    """A product of two matrices, of which the first has a row for each row of the weight."""

    left: mx.array
    """[rows, r], or of experts [experts, out, r]"""
    right: mx.array
    """[r, columns], or of experts [experts, r, in]"""
    scale: float

    def rows(self, start: int, stop: int) -> mx.array:
        """Rows of the product, of experts all of some; scaled as mlx-lm does where it merges adapters."""
        right = self.right if self.right.ndim == 2 else self.right[start:stop]
        return (self.scale * self.left[start:stop]) @ right


def read_added(folder: Path, model: nn.Module) -> dict[str, Added]:
    """What the adapter in a folder adds, by the layer's path. InvalidModelFiles where it is not made for this model."""
    adapter = read_adapter({path.name: path for path in folder.iterdir()})
    arrays = cast(dict[str, mx.array], mx.load(str(folder / adapter.weights)))
    modules = dict(model.named_modules())
    found: dict[str, Added] = {}
    for layer in adapter.layers:
        path = next((wrapper + layer.layer for wrapper in _WRAPPERS if wrapper + layer.layer in modules), "")
        if not path:
            raise InvalidModelFiles(f"The adapter changes {layer.layer[:200]}, which the model does not have.")
        found[path] = _added(layer, modules[path], arrays[layer.a.name], arrays[layer.b.name])
    return found


def _added(layer: LowRank, module: nn.Module, a: mx.array, b: mx.array) -> Added:
    """mlx-lm: x a b for x [.., in], and a b itself for an embedding. PEFT, and experts: b a."""
    is_embedding = isinstance(module, nn.Embedding)
    if not isinstance(module, nn.Linear | nn.Embedding | SwitchLinear):
        raise InvalidModelFiles(f"The adapter changes {layer.layer[:200]}, which is no linear layer.")
    shape = layer.shape(is_embedding=is_embedding)
    if shape != tuple(module["weight"].shape) or (is_embedding and layer.is_peft):
        raise InvalidModelFiles(
            f"The adapter is for another model: for {layer.layer[:200]} it has the shape {list(shape)} in place of "
            f"{list(module['weight'].shape)}."
        )
    if layer.is_peft or a.ndim == 3:
        return Added(b, a, layer.scale)
    return Added(a, b, layer.scale) if is_embedding else Added(b.T, a.T, layer.scale)
