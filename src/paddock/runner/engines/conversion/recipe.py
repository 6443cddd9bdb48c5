"""Which layers are quantised how: a written recipe. Pure: it knows names and sizes of layers, no numbers.

In this order:
- What chooses experts is small and decides much: it stays as it was. So does whatever is too small to gain by it, and
  what the architecture of mlx-lm wants left alone.
- The layer that makes the logits is in 8 bits; an embedding that is that layer as well is too.
- Of kinds of 4 bits, keys and values and the last product of a feed-forward network are in 8 bits, since errors in
  them are felt most. Experts of the kinds mxfp4 and nvfp4 keep to 4 bits: there are too many of them.
- All else is of the kind that was asked for.
A layer whose rows are no whole number of groups takes the kind that was asked for, or stays as it was.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paddock.protocol.conversion import PACKINGS, SOURCE

LEAST_NUMBERS = 1024

_HIGHER = {"int4": "int8", "mxfp4": "mxfp8", "nvfp4": "mxfp8"}
"""Of each kind of 4 bits, the one of 8 bits beside it."""
_ROUTERS = frozenset({"gate", "router", "shared_expert_gate"})
_HEADS = frozenset({"lm_head", "embed_out"})
_FELT_MOST = frozenset({"k_proj", "v_proj", "down_proj"})
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


@dataclass(frozen=True)
class Layer:
    """What the recipe looks at."""

    path: str
    width: int
    """Of a row."""
    count: int
    """Numbers in all."""
    is_embedding: bool = False
    is_experts: bool = False
    advice: int | None = None
    """Bits that the architecture itself asks for; 0 to leave the layer alone, None for no opinion."""


def kind_of(layer: Layer, wanted: str, *, is_tied: bool) -> str:
    """One of `PACKINGS`, or `SOURCE`. `is_tied`: the embedding makes the logits too."""
    kinds = _kinds(layer, wanted, is_tied=is_tied)
    return next((kind for kind in kinds if layer.width % PACKINGS[kind].group_size == 0), SOURCE)


def _kinds(layer: Layer, wanted: str, *, is_tied: bool) -> tuple[str, ...]:
    """Those that it may be of, best first; empty for none."""
    parts = layer.path.split(".")
    if layer.count < LEAST_NUMBERS or layer.advice == 0 or _ROUTERS & set(parts):
        return ()
    higher = _HIGHER.get(wanted, wanted)
    is_head = parts[-1] in _HEADS or (is_tied and layer.is_embedding)
    is_felt = parts[-1] in _FELT_MOST and (wanted == "int4" or not layer.is_experts)
    is_asked = layer.advice is not None and layer.advice > PACKINGS[wanted].bits
    return (higher, wanted) if is_head or is_felt or is_asked else (wanted,)


def summarise(kinds: Mapping[str, str], wanted: str) -> dict[str, tuple[str, ...]]:
    """The layers that are not of the wanted kind, by what they are. Where all layers that differ in numbers only are
    alike, they are one line with `*` for each number."""
    alike: dict[str, set[str]] = defaultdict(set)
    for path, kind in kinds.items():
        alike[_NUMBER.sub("*", path)].add(kind)
    lines: dict[str, dict[str, None]] = defaultdict(dict)
    for path, kind in kinds.items():
        general = _NUMBER.sub("*", path)
        if kind != wanted:
            lines[kind][general if len(alike[general]) == 1 else path] = None
    return {kind: tuple(found) for kind, found in sorted(lines.items())}


def exceptions(kinds: Mapping[str, str], wanted: str) -> Iterable[tuple[str, dict[str, int | str]]]:
    """What mlx-lm's config.json says of single layers that are packed in another way than all others."""
    for path, kind in kinds.items():
        if kind not in (wanted, SOURCE):
            yield path, settings(kind)


def settings(kind: str) -> dict[str, int | str]:
    """How mlx-lm's config.json writes a kind."""
    packing = PACKINGS[kind]
    return {"group_size": packing.group_size, "bits": packing.bits, "mode": packing.mode}
