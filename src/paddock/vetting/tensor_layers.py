"""Models that are stored one tensor at a time, as Ollama stores safetensors models: a layer of the manifest for each.

Such a layer is a small safetensors file with a tensor of the layer's name. One that is quantised has its scales and
biases beside it (`NAME.scale`, `NAME.bias`) and says in its metadata how it is packed; the layer of a group, which
experts are, has all tensors whose names begin with its own. What is read here is told in MLX's words instead: layers
with `weight`, `scales` and `biases`, and how each of them is packed. Nothing but headers is read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paddock.errors import InvalidModelFiles, UnsupportedModel
from paddock.vetting.image_folder import WEIGHTED_PARTS
from paddock.vetting.safetensors_header import MAX_TENSORS, Header, Tensor, read_whole_header

FOLDER = "tensors/"
"""Where these files are among the files of a model, under the names of their layers."""
MAX_LAYERS = 20_000
"""The largest models have about a tenth of it."""
MAX_HEADER_BYTES = 4 * 1024 * 1024
"""The largest group of experts needs about a quarter of it."""

_SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,219}")
_ANY_NAME = "data"
"""What the only tensor of a layer was called in early models."""


@dataclass(frozen=True)
class Packing:
    """How the numbers of a layer are packed, in MLX's words."""

    mode: str
    """affine, nvfp4, mxfp4 or mxfp8"""
    bits: int
    group_size: int
    """Numbers that share a scale."""

    def as_settings(self) -> dict[str, Any]:
        """As config.json says it."""
        return {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}


_AFFINE_GROUPS = (64, 32, 128)
_FLOATS: Mapping[str, Packing] = {
    "nvfp4": Packing("nvfp4", 4, 16),
    "mxfp4": Packing("mxfp4", 4, 32),
    "mxfp8": Packing("mxfp8", 8, 32),
}
_ALIASES = {"q4": "int4", "fp4": "int4", "q8": "int8", "fp8": "int8"}
_AFFINE = re.compile(r"int([234568])")
_NOT_TOLD = tuple(Packing("affine", bits, group) for group in _AFFINE_GROUPS for bits in (4, 8))
"""What a layer of affine packing can be that does not say it, the likelier first."""


@dataclass(frozen=True)
class TensorLayer:
    """What is in one of these files."""

    tensors: tuple[Tensor, ...]
    """Under MLX's names."""
    names: Mapping[str, str]
    """From the names in the file to MLX's."""
    packings: Mapping[str, Packing]
    """Of the layers of the network that are packed, by their names."""


@dataclass(frozen=True)
class StoredTensors:
    """What is in all of these files, or in those of one part of an image model."""

    tensors: tuple[Tensor, ...]
    packings: Mapping[str, Packing]

    def with_packings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A config that tells how the weights are packed, as MLX's own models do: what most numbers have first, and
        then layer by layer."""
        settings: dict[str, Any] = {}
        if self.packings:
            counts = Counter[Packing]()
            for tensor in self.tensors:
                module, _, kind = tensor.name.rpartition(".")
                if kind == "weight" and module in self.packings:
                    counts[self.packings[module]] += tensor.element_count * 32 // self.packings[module].bits
            settings = {name: packing.as_settings() for name, packing in self.packings.items()}
            settings |= counts.most_common(1)[0][0].as_settings()
        plain = {key: value for key, value in config.items() if key not in ("quantization", "quantization_config")}
        return {**plain, "quantization": settings} if settings else plain


def is_tensor_file(name: str) -> bool:
    """Whether a file of a model is one of these, by its name among them."""
    return name.startswith(FOLDER)


def tensor_files(files: Iterable[str]) -> list[str]:
    """Those of these files, in order."""
    return sorted(filter(is_tensor_file, files))


def file_of(layer: str) -> str:
    """The name of a file for a layer of this name, which is safe to make. InvalidModelFiles."""
    part, separator, tensor = layer.rpartition("/")
    if not _NAME.fullmatch(tensor) or (separator and part not in WEIGHTED_PARTS):
        raise InvalidModelFiles("A layer of the model is named as no tensor is: pull or create the model again.")
    return f"{FOLDER}{layer}{_SUFFIX}"


def read_all(files: Mapping[str, Path], part: str = "", config: Mapping[str, Any] | None = None) -> StoredTensors:
    """The tensors of all of these files, or of those of one part, whose names they then have without it.

    `config`: the model's own, which knows better than the metadata where it tells how single layers are packed.
    InvalidModelFiles for what is no such model; UnsupportedModel for packings that MLX's layers do not know.
    """
    folder = f"{FOLDER}{part}/" if part else FOLDER
    names = [name for name in tensor_files(files) if name.rpartition("/")[0] + "/" == folder]
    if len(names) > MAX_LAYERS:
        raise InvalidModelFiles(f"The model has more than {MAX_LAYERS} layers of tensors.")
    tensors: dict[str, Tensor] = {}
    packings: dict[str, Packing] = {}
    for name in names:
        layer = read_one(files[name], name, config)
        if twice := next((tensor.name for tensor in layer.tensors if tensor.name in tensors), None):
            raise InvalidModelFiles(f"Two of the model's layers hold the tensor {twice}.")
        tensors |= {tensor.name: tensor for tensor in layer.tensors}
        packings |= layer.packings
        if len(tensors) > MAX_TENSORS:
            raise InvalidModelFiles(f"The model has more than {MAX_TENSORS} tensors.")
    return StoredTensors(tuple(tensors.values()), packings)


def read_one(path: Path, name: str, config: Mapping[str, Any] | None = None) -> TensorLayer:
    """What is in the file of this name. As `read_all`."""
    header = read_whole_header(path, name, MAX_HEADER_BYTES)
    part, _, layer = name.removeprefix(FOLDER).removesuffix(_SUFFIX).rpartition("/")
    own_names = {tensor.name: _own_name(tensor.name, part, layer, header, name) for tensor in header.tensors}
    found = {own_names[tensor.name]: tensor for tensor in header.tensors}
    if len(found) != len(own_names):
        raise InvalidModelFiles(f"The file {name} holds a tensor twice.")
    packed = {each for each in found if f"{each}.scale" in found}
    names = {each: _mlx_name(each, packed) for each in found}
    if len(set(names.values())) != len(names):
        raise InvalidModelFiles(f"The file {name} holds a tensor twice.")
    try:
        packings = {_module(each): _packing(each, found, header.metadata, part, config) for each in packed}
    except _Unfit as problem:
        raise InvalidModelFiles(f"The file {name} {problem}.") from None
    return TensorLayer(
        tensors=tuple(replace(tensor, name=names[each]) for each, tensor in found.items()),
        names={theirs: names[ours] for theirs, ours in own_names.items()},
        packings=packings,
    )


class _Unfit(Exception):
    """What is wrong with a packed tensor, as the end of the sentence that starts with the file's name."""


def _own_name(found: str, part: str, layer: str, header: Header, file: str) -> str:
    """A tensor's name without the part of an image model that it is in, if its layer may hold such a tensor."""
    if found == _ANY_NAME and len(header.tensors) == 1:
        return layer
    name = found.removeprefix(f"{part}/") if part else found
    if name != layer and not name.startswith(f"{layer}."):
        raise InvalidModelFiles(f"The file {file} holds a tensor of another name than its own.")
    return name


def _module(packed: str) -> str:
    return packed.removesuffix(".weight")


def _mlx_name(name: str, packed: set[str]) -> str:
    if name in packed:
        return f"{_module(name)}.weight"
    for theirs, ours in ((".scale", ".scales"), (".bias", ".biases"), (".global_scale", ".global_scale")):
        if name.endswith(theirs) and name.removesuffix(theirs) in packed:
            return f"{_module(name.removesuffix(theirs))}{ours}"
    return name


# ---- how a tensor is packed -----------------------------------------------------------------------------------------


def _packing(
    name: str, found: Mapping[str, Tensor], metadata: Mapping[str, str], part: str, config: Mapping[str, Any] | None
) -> Packing:
    """That of the tensor `name`, which has scales: as it is told, and as its shapes allow."""
    if f"{name}.global_scale" in found:
        raise UnsupportedModel(
            "Weights in nvfp4 with a scale for whole tensors are not supported: use the model in another format."
        )
    weight, scales, biases = found[name], found[f"{name}.scale"], found.get(f"{name}.bias")
    is_affine = biases is not None
    _check_kind(name, weight, scales, biases)
    key = f"{part}/{name}" if part else name
    possible = _overridden(config, _module(name)) or _told(name, _noted(metadata, key, name), is_affine)
    packing = next((each for each in possible if _fits(each, weight, scales)), None)
    if packing is None or (packing.mode == "affine") != is_affine:
        raise _Unfit(f"has scales of {name} that do not fit how it is packed")
    return packing


def _check_kind(name: str, weight: Tensor, scales: Tensor, biases: Tensor | None) -> None:
    """Words of 32 bits; scales and biases that are numbers, or scales of 8 bits alone; all with the same rows."""
    is_sound = weight.dtype == "U32" and len(weight.shape) in (2, 3) and weight.shape[:-1] == scales.shape[:-1]
    if biases is None:
        is_sound &= scales.dtype == "U8"
    else:
        is_sound &= scales.dtype in ("F32", "F16", "BF16") and biases.dtype == scales.dtype
        is_sound &= biases.shape == scales.shape
    if not is_sound or weight.element_count == 0:
        raise _Unfit(f"has scales of {name} that do not fit it")


def _noted(metadata: Mapping[str, str], *keys: str) -> tuple[str, str]:
    """The kind and the group size that the metadata tells of a tensor, or of all of them; empty if it does not."""
    kinds = [metadata.get(f"{key}.quant_type", "") for key in keys] + [metadata.get("quant_type", "")]
    groups = [metadata.get(f"{key}.group_size", "") for key in keys] + [metadata.get("group_size", "")]
    return next(filter(None, kinds), ""), next(filter(None, groups), "")


def _told(name: str, noted: tuple[str, str], is_affine: bool) -> Iterable[Packing]:
    """The packings that a tensor can have by what is told of it."""
    kind = _ALIASES.get(noted[0].strip().lower(), noted[0].strip().lower())
    bits = _AFFINE.fullmatch(kind)
    if not kind:
        known: Iterable[Packing] = _NOT_TOLD if is_affine else _FLOATS.values()
    elif kind in _FLOATS:
        known = (_FLOATS[kind],)
    elif bits:
        known = tuple(Packing("affine", int(bits[1]), group) for group in _AFFINE_GROUPS)
    else:
        raise _Unfit(f"says that {name} is packed in a way that is not known")
    group = noted[1].strip()
    if group and group not in {str(each.group_size) for each in known}:
        raise _Unfit(f"says that {name} is packed in groups of a size that is not known")
    return [each for each in known if not group or str(each.group_size) == group]


def _overridden(config: Mapping[str, Any] | None, module: str) -> list[Packing]:
    """What the model's own config.json says of one layer: the metadata of models that came packed is of most layers,
    not of each."""
    quantization = (config or {}).get("quantization")
    own = quantization.get(module) if isinstance(quantization, dict) else None
    if not isinstance(own, dict):
        return []
    mode, bits, group = own.get("mode", "affine"), own.get("bits"), own.get("group_size")
    return [each for each in _all_packings() if (each.mode, each.bits, each.group_size) == (mode, bits, group)]


def _all_packings() -> Iterator[Packing]:
    yield from _FLOATS.values()
    yield from (Packing("affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in _AFFINE_GROUPS)


def _fits(packing: Packing, weight: Tensor, scales: Tensor) -> bool:
    return weight.shape[-1] * 32 == scales.shape[-1] * packing.group_size * packing.bits
