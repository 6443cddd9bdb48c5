"""A model's weights as pieces that are made one after the other, a few rows at a time.

MLX reads a tensor when it is first needed, so what is in memory is one tensor, of a layer of experts all of them twice,
and what becomes of some of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.models.mla import MultiLinear
from mlx_lm.models.switch_layers import SwitchLinear

from paddock.protocol.conversion import PACKINGS, SOURCE, Packing
from paddock.runner.engines.conversion.lora import Added
from paddock.runner.engines.conversion.recipe import Layer, kind_of

QUANTISED_CLASSES = (nn.Linear, nn.Embedding, SwitchLinear, MultiLinear)
"""Those that mlx-lm packs as `weight`, `scales` and perhaps `biases`. Others stay as they were."""
_CHUNK_BYTES = 16 * 1024 * 1024
_SLOW_CHUNK_BYTES = 1024 * 1024
"""On a CPU, MLX packs the kinds of 4 bits by comparing each number with all values at once, in 40 times the memory."""


@dataclass(frozen=True)
class Entry:
    """A tensor of a file that is to be written."""

    name: str
    dtype: mx.Dtype
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return int(mx.zeros(0, self.dtype).itemsize) * _product(self.shape)


@dataclass
class Piece:
    """A tensor of the model, and the tensors that are made of it."""

    source: mx.array
    entries: tuple[Entry, ...]
    packing: Packing | None = None
    added: Added | None = None

    def chunks(self) -> Iterator[tuple[int, list[mx.array]]]:
        """Number of the first row, and these rows of every entry; each is computed when it is used."""
        if self.source.ndim == 0:
            yield 0, [self.source]
            return
        count = self.source.shape[0]
        step = self._rows_at_once()
        for start in range(0, count, step):
            rows = self.source[start : start + step]
            if self.added is not None:
                rows = rows + self.added.rows(start, min(start + step, count)).astype(rows.dtype)
            yield start, [rows] if self.packing is None else list(_packed(rows, self.packing))

    def _rows_at_once(self) -> int:
        is_slow = self.packing is not None and self.packing.bits == 4 and self.packing.mode != "affine"
        most_bytes = _SLOW_CHUNK_BYTES if is_slow and mx.default_device() == mx.cpu else _CHUNK_BYTES
        return max(1, most_bytes * self.source.shape[0] // max(1, self.source.nbytes))


@dataclass
class Plan:
    """All pieces in order, and the kind of each layer that could have been quantised."""

    pieces: list[Piece] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)


def plan(model: nn.Module, wanted: str, added: Mapping[str, Added], *, is_tied: bool) -> Plan:
    """What is to be made of a model whose weights are still on disk; an empty `wanted` quantises nothing."""
    found = Plan()
    arrays = dict(tree_flatten(model.parameters()))
    layers = {path: module for path, module in model.named_modules() if f"{path}.weight" in arrays}
    for name, array in arrays.items():
        path, _, part = name.rpartition(".")
        module = layers.get(path)
        if part != "weight" or module is None:
            found.pieces.append(_copy(name, array))
            continue
        kind = SOURCE
        if wanted and isinstance(module, QUANTISED_CLASSES):
            kind = found.kinds[path] = kind_of(_layer(path, module, model), wanted, is_tied=is_tied)
        delta = added.get(path)
        found.pieces.append(_copy(name, array, delta) if kind == SOURCE else _pack(path, array, PACKINGS[kind], delta))
    return found


def _layer(path: str, module: nn.Module, model: nn.Module) -> Layer:
    weight = module["weight"]
    return Layer(
        path=path,
        width=weight.shape[-1],
        count=weight.size,
        is_embedding=isinstance(module, nn.Embedding),
        is_experts=isinstance(module, SwitchLinear),
        advice=_advice(path, module, model),
    )


def _advice(path: str, module: nn.Module, model: nn.Module) -> int | None:
    """What mlx-lm's own architecture says: false, true, or settings."""
    predicate = getattr(model, "quant_predicate", None)
    said = predicate(path, module) if callable(predicate) else True
    if isinstance(said, dict):
        bits = said.get("bits")
        return bits if isinstance(bits, int) else None
    return None if said else 0


def _copy(name: str, array: mx.array, added: Added | None = None) -> Piece:
    return Piece(array, (Entry(name, array.dtype, tuple(array.shape)),), added=added)


def _pack(path: str, array: mx.array, packing: Packing, added: Added | None) -> Piece:
    """The shapes are MLX's own, of arrays that are never computed."""
    names = ("weight", "scales", "biases")
    entries = tuple(
        Entry(f"{path}.{name}", made.dtype, tuple(made.shape))
        for name, made in zip(names, _packed(array, packing), strict=False)
    )
    return Piece(array, entries, packing, added)


def _packed(array: mx.array, packing: Packing) -> tuple[mx.array, ...]:
    return tuple(mx.quantize(array, packing.group_size, packing.bits, mode=packing.mode))


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
