"""Tiny models stored one tensor at a time, as `ollama create --experimental` writes them: manifest and blobs.

Blobs are by their digests, so a store or a registry can serve them as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm import utils

from bench.memory_checkpoints import write_tokenizer
from paddock.store.library import Library, StoredModel
from paddock.store.manifest import CONFIG_TYPE, JSON_TYPE, MANIFEST_TYPE, TENSOR_TYPE
from paddock.store.names import ModelName

Config = dict[str, Any]
KindOf = Callable[[str], str]
"""The kind that a tensor of this name is quantised to; empty for none."""

KINDS: Mapping[str, Mapping[str, Any]] = {
    "int4": {"group_size": 64, "bits": 4, "mode": "affine"},
    "int8": {"group_size": 64, "bits": 8, "mode": "affine"},
    "nvfp4": {"group_size": 16, "bits": 4, "mode": "nvfp4"},
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    "mxfp8": {"group_size": 32, "bits": 8, "mode": "mxfp8"},
}
_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(\w+\.weight)")
_SIZES: Config = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 512,
}
LLAMA: Config = _SIZES | {"model_type": "llama", "tie_word_embeddings": False}
TIED: Config = _SIZES | {"model_type": "qwen3", "tie_word_embeddings": True}
EXPERTS: Config = _SIZES | {
    "model_type": "qwen3_moe",
    "tie_word_embeddings": False,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}


@dataclass(frozen=True)
class TensorModel:
    """What a registry has of a model."""

    manifest: bytes
    blobs: Mapping[str, bytes] = field(repr=False)
    """By digest (`sha256:…`), the description among them."""

    def put_into(self, library: Library, name: str) -> StoredModel:
        """Bring it into a store."""
        for data in self.blobs.values():
            library.blobs.add_bytes(data)
        return library.put_bytes(ModelName.parse(name), self.manifest)


def as_it_is(_: str) -> str:
    """Nothing is quantised."""
    return ""


def all_of(kind: str) -> KindOf:
    """Every weight of a linear layer that Ollama quantises, to one kind."""
    return lambda name: kind if name.endswith("_proj.weight") else ""


def promoted(name: str) -> str:
    """int4, and int8 for what suffers most, as Ollama has it."""
    return "int8" if any(word in name for word in ("down_proj", "v_proj", "k_proj")) else all_of("int4")(name)


def float_model(config: Config) -> nn.Module:
    """The architecture with random weights, the same each time."""
    model_class, arguments = utils._get_classes(config)
    mx.random.seed(0)
    model: nn.Module = model_class(arguments.from_dict(config))
    model.set_dtype(mx.bfloat16)
    mx.eval(model.parameters())
    return model


def tensor_model(
    config: Config = LLAMA,
    kind_of: KindOf = as_it_is,
    *,
    apart: bool = False,
    quiet: bool = False,
    description: Mapping[str, Any] | None = None,
    texts: Mapping[str, str] | None = None,
) -> TensorModel:
    """A text model of this config. `apart`: experts are packed one by one, as in early models, in place of stacked;
    `quiet`: their files do not say how. `description` is laid over the config blob's, `texts` are layers by media type.
    """
    blobs: dict[str, bytes] = {}
    layers = [
        _layer(blobs, TENSOR_TYPE, _safetensors(tensors, kind_of, quiet=quiet), name)
        for name, tensors in _groups(_checkpoint(float_model(config), apart=apart))
    ]
    layers += [_layer(blobs, JSON_TYPE, data, name) for name, data in _json_files(config).items()]
    layers += [_layer(blobs, media_type, text.encode()) for media_type, text in (texts or {}).items()]
    return _model(blobs, layers, {"capabilities": ["completion"], "parser": "p", **(description or {})})


def folder_model(folder: Path, kind_of: KindOf = as_it_is, *, stacks: bool = False) -> TensorModel:
    """The model in a folder: its own weights and JSON files, or those of the parts of an image model.

    `stacks`: experts that are one by one in the folder are stacked, as `ollama create` now does. What MLX cannot
    quantise so stays as it is.
    """
    blobs: dict[str, bytes] = {}
    layers = []
    for path in sorted(folder.rglob("*.safetensors")):
        part = path.parent.relative_to(folder).as_posix().removeprefix(".")
        loaded: Any = mx.load(str(path))
        for name, array in (stacked(loaded) if stacks else loaded).items():
            full = f"{part}/{name}" if part else name
            # Early on, only the names of quantised tensors had the part in them.
            is_packed = bool(kind_of(full)) and is_quantisable(array, kind_of(full))
            data = _safetensors({full if is_packed else name: array}, kind_of if is_packed else as_it_is)
            layers.append(_layer(blobs, TENSOR_TYPE, data, full))
    texts = [(path, path.relative_to(folder).as_posix()) for path in sorted(folder.rglob("*.json"))]
    layers += [_layer(blobs, JSON_TYPE, _as_kept(path), name) for path, name in texts]
    is_image = (folder / "model_index.json").exists()
    return _model(blobs, layers, {"capabilities": ["image"] if is_image else ["completion"]})


def stacked(tensors: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """The same with the weights of experts in one tensor for each of their projections."""
    found: dict[str, mx.array] = {}
    groups: dict[str, dict[int, mx.array]] = {}
    for name, array in tensors.items():
        expert = _EXPERT.fullmatch(name)
        if expert:
            groups.setdefault(f"{expert[1]}.{expert[3]}", {})[int(expert[2])] = array
        else:
            found[name] = array
    return found | {name: mx.stack([parts[number] for number in sorted(parts)]) for name, parts in groups.items()}


def is_quantisable(array: mx.array, kind: str) -> bool:
    """Whether MLX can quantise it so, and it is a matrix or a stack of them."""
    return array.ndim in (2, 3) and array.shape[-1] % KINDS[kind]["group_size"] == 0


def _as_kept(path: Path) -> bytes:
    """The index of an image model names its pipeline otherwise."""
    if path.name != "model_index.json":
        return path.read_bytes()
    index = json.loads(path.read_bytes())
    return json.dumps({"architecture": index.pop("_class_name"), "quantization": "BF16", **index}).encode()


def _model(blobs: dict[str, bytes], layers: list[dict[str, Any]], description: Mapping[str, Any]) -> TensorModel:
    told = {"model_format": "safetensors", "file_type": "", "requires": "0.19.0", "unknown": 1, **description}
    config = _layer(blobs, CONFIG_TYPE, json.dumps(told).encode())
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers, "note": "kept"}
    return TensorModel(json.dumps(manifest, indent=1).encode(), blobs)


def _checkpoint(model: nn.Module, *, apart: bool) -> Iterator[tuple[str, mx.array]]:
    """Its weights under the names that checkpoints have them."""
    for name, array in tree_flatten(model.parameters()):
        if ".switch_mlp." not in name:
            yield name, array
        elif apart:
            for number, expert in enumerate(array):
                yield name.replace(".switch_mlp.", f".experts.{number}."), expert
        else:
            yield name.replace(".switch_mlp.", ".experts."), array


def _groups(tensors: Iterator[tuple[str, mx.array]]) -> Iterator[tuple[str, dict[str, mx.array]]]:
    """What is in one layer: a tensor, or all experts of a layer of the network."""
    groups: dict[str, dict[str, mx.array]] = {}
    for name, array in tensors:
        prefix, separator, _ = name.partition(".experts.")
        groups.setdefault(f"{prefix}.experts" if separator else name, {})[name] = array
    yield from groups.items()


def _safetensors(tensors: Mapping[str, mx.array], kind_of: KindOf, *, quiet: bool = False) -> bytes:
    kinds = {name: kind_of(name) for name in tensors}
    found: dict[str, mx.array] = {}
    for name, array in tensors.items():
        if not kinds[name]:
            found[name] = array
            continue
        found[name], found[f"{name}.scale"], *biases = mx.quantize(array, **KINDS[kinds[name]])
        found |= {f"{name}.bias": bias for bias in biases}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.safetensors"
        mx.save_safetensors(str(path), found, metadata={} if quiet else _metadata(kinds))
        return path.read_bytes()


def _metadata(kinds: Mapping[str, str]) -> dict[str, str]:
    """One kind for all, or each with its own."""
    if len(set(kinds.values())) == 1:
        kind = next(iter(kinds.values()))
        return {"quant_type": kind, "group_size": str(KINDS[kind]["group_size"])} if kind else {}
    told = {f"{name}.quant_type": kind for name, kind in kinds.items() if kind}
    return told | {f"{name}.group_size": str(KINDS[kind]["group_size"]) for name, kind in kinds.items() if kind}


def _json_files(config: Config) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tokenizer(folder)
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return {"config.json": json.dumps(config).encode()} | files


def _layer(blobs: dict[str, bytes], media_type: str, data: bytes, name: str = "") -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blobs[digest] = data
    layer = {"mediaType": media_type, "digest": digest, "size": len(data)}
    return layer | ({"name": name} if name else {})
