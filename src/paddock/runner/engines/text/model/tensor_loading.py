"""mlx-lm's architectures with weights that are stored one tensor at a time, which mlx-lm itself does not read.

What mlx-lm does to weights on the way in (`sanitize`) knows names and shapes of dense ones. Experts that are packed, or
stacked already, go past it to the layers that they belong to, and leave something in their place that it can stack.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm import utils as mlx_lm_utils
from mlx_lm.models.switch_layers import SwitchLinear

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.runner.engines.stored_tensors import open_stored, pack_as_stored
from paddock.vetting.tensor_layers import Packing

Weights = dict[str, mx.array]

_OF_EXPERTS = re.compile(
    r"(?P<group>.*\blayers\.(?P<layer>\d+)\..*\bexperts)\.(?:(?P<expert>\d+)\.)?(?P<projection>\w+)"
    r"\.(?P<kind>weight|scales|biases)"
)
_SWITCH = re.compile(r".*\blayers\.(?P<layer>\d+)\..*\.(?P<projection>\w+)")
_PROJECTIONS: Mapping[str, tuple[str, ...]] = {
    "w1": ("gate_proj",),
    "w2": ("down_proj",),
    "w3": ("up_proj",),
    "up_proj": ("up_proj", "fc1"),
    "down_proj": ("down_proj", "fc2"),
}
"""What mlx-lm calls projections of experts, by what checkpoints call them."""
_TAKEN_APART = ".kv_b_proj"
"""A layer that mlx-lm makes two of, whose rows it takes apart; packed ones would be packed a second time."""
_BOTH = "gate_up_proj"
_HALVES = frozenset({"gemma4", "gemma4_text", "qwen3_5_moe"})
"""Architectures whose experts have both projections in one tensor, the gate's rows first."""


def build(folder: Path, model_config: Mapping[str, Any]) -> nn.Module:
    """The architecture with its weights, still on disk; `model_config` is laid over the folder's own.

    DamagedModel, UnsupportedModel; ValueError, TypeError, KeyError, AttributeError or IndexError where config and
    weights do not fit together.
    """
    own = mlx_lm_utils.load_config(folder)
    tensors, packings = open_stored(folder, config=own)
    config = {**own, **model_config}
    config.pop("quantization", None)
    config.pop("quantization_config", None)
    model_class, arguments = mlx_lm_utils._get_classes(config)
    model: nn.Module = model_class(arguments.from_dict(config))
    experts, rest = place_experts(model, _unpacked(tensors, packings), str(config.get("model_type")))
    weights = _sanitised(model, rest, _stand_ins(tensors, rest)) | experts
    pack_as_stored(model, weights, packings)
    model.eval()
    model.load_weights(list(weights.items()), strict=True)
    return model


def _sanitised(model: Any, tensors: Weights, stand_ins: Weights) -> Weights:
    """As mlx-lm wants them. Where it leaves weights out, it does not know that they have scales."""
    weights: Weights = model.sanitize(tensors | stand_ins) if hasattr(model, "sanitize") else tensors
    left_out = {name.removesuffix("weight") for name in tensors.keys() - weights.keys() if name.endswith(".weight")}
    return {
        name: array
        for name, array in weights.items()
        if name not in stand_ins
        and not (name.endswith((".scales", ".biases")) and name.rpartition(".")[0] + "." in left_out)
    }


def _stand_ins(tensors: Weights, rest: Weights) -> Weights:
    """What takes the place of experts that go past: some architectures do nothing at all where they find none."""
    nothing = mx.zeros((1, 1))
    found: Weights = {}
    for name in tensors.keys() - rest.keys():
        expert = _OF_EXPERTS.fullmatch(name)
        if expert and expert["kind"] == "weight" and expert["projection"] != _BOTH:
            numbers = [expert["expert"]] if expert["expert"] else range(tensors[name].shape[0])
            found |= {f"{expert['group']}.{each}.{expert['projection']}.weight": nothing for each in numbers}
    return found


def _unpacked(tensors: Weights, packings: Mapping[str, Packing]) -> Weights:
    """With dense weights of the layers that are taken apart."""
    found = dict(tensors)
    for path, packing in packings.items():
        if path.endswith(_TAKEN_APART):
            parts = [found.pop(f"{path}.{kind}", None) for kind in ("weight", "scales", "biases")]
            found[f"{path}.weight"] = _dense(parts, packing)
    return found


def _dense(parts: list[Any], packing: Packing) -> mx.array:
    """The numbers of a weight with its scales, and its biases or None; on the CPU in float32, as all will be."""
    if mx.default_device() == mx.cpu:
        parts = [each.astype(mx.float32) if each is not None and each.itemsize == 2 else each for each in parts]
    kind = mx.float32 if mx.default_device() == mx.cpu else None
    weight, scales, biases = parts
    return mx.dequantize(weight, scales, biases, **packing.as_settings(), dtype=kind)


def place_experts(model: nn.Module, tensors: Weights, kind: str) -> tuple[Weights, Weights]:
    """Experts under the names of the layers that they make together, and all other tensors as they are.

    Dense experts that are told apart stay among the others, for mlx-lm to stack. `kind` is the model_type.
    """
    targets = _switches(model)
    packed = {name.removesuffix(".scales") for name in tensors if name.endswith(".scales")}
    stacks: dict[str, dict[int, mx.array]] = defaultdict(dict)
    rest: Weights = {}
    for name, tensor in tensors.items():
        found = _OF_EXPERTS.fullmatch(name)
        is_apart = found is not None and found["expert"] is not None
        is_known = found is not None and any(layer == found["layer"] for layer, _ in targets)
        if found is None or not is_known or (is_apart and name.rpartition(".")[0] not in packed):
            rest[name] = tensor
            continue
        for target, part in _split(found["projection"], tensor, kind):
            path = _target(targets, found["layer"], target, name)
            stacks[f"{path}.{found['kind']}"][int(found["expert"]) if is_apart else -1] = part
    return {name: _stacked(name, parts) for name, parts in stacks.items()}, rest


def _switches(model: nn.Module) -> dict[tuple[str, str], list[str]]:
    """The layers for all experts at once, by the number of their layer and what they are called in it."""
    switches: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path, module in model.named_modules():
        found = _SWITCH.fullmatch(path)
        if found and isinstance(module, SwitchLinear):
            switches[found["layer"], found["projection"]].append(path)
    return switches


def _target(targets: Mapping[tuple[str, str], list[str]], layer: str, projection: str, name: str) -> str:
    names = _PROJECTIONS.get(projection, (projection,))
    paths = [path for each in names for path in targets.get((layer, each), ())]
    if len(paths) != 1:
        raise UnsupportedModel(f"This version of Paddock does not know where the experts {name} of this model belong.")
    return paths[0]


def _split(projection: str, tensor: mx.array, kind: str) -> list[tuple[str, mx.array]]:
    """The projections in a tensor of experts, by name: two where they are in one."""
    if projection != _BOTH:
        return [(projection, tensor)]
    if kind not in _HALVES:
        raise UnsupportedModel("This version of Paddock does not know how the experts of this model are put together.")
    gate, up = mx.split(tensor, 2, axis=-2)
    return [("gate_proj", gate), ("up_proj", up)]


def _stacked(name: str, parts: Mapping[int, mx.array]) -> mx.array:
    if parts.keys() == {-1}:
        return parts[-1]
    if sorted(parts) != list(range(len(parts))) or len({part.shape for part in parts.values()}) != 1:
        raise DamagedModel(f"Some of the experts of {name} are missing or unlike: pull or create the model again.")
    return mx.stack([parts[number] for number in range(len(parts))])
