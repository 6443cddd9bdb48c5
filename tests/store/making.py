"""Small models and safetensors files, right and wrong, for the tests of the store."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy
from safetensors.numpy import save_file

from paddock.store.create import CreateSpec, create, import_folder
from paddock.store.library import Library, StoredModel
from paddock.store.names import ModelName

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "vocab_size": 16,
}


def named(text: str) -> ModelName:
    return ModelName.parse(text)


def ignore(_: str) -> None:
    """A progress that nobody reads."""


def safetensors_bytes(header: object, body: bytes = b"") -> bytes:
    """A file with this header (JSON, or bytes as they are) and this body, whatever they claim."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def entry(dtype: str, shape: list[Any], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write_model(folder: Path, *, fill: float = 0.0, config: dict[str, Any] | None = None) -> Path:
    """A whole model in a folder: config, one file of weights, tokenizer. `fill` tells weights apart."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"embed.weight": numpy.full((16, 8), fill, numpy.float32)}, folder / "model.safetensors")
    return folder


def write_sharded_model(folder: Path) -> Path:
    """The same with two shards and their index."""
    write_model(folder)
    (folder / "model.safetensors").unlink()
    shards = {"model-00001-of-00002.safetensors": "first", "model-00002-of-00002.safetensors": "second"}
    for file, tensor in shards.items():
        save_file({tensor: numpy.zeros((4, 4), numpy.float16)}, folder / file)
    index = {"metadata": {}, "weight_map": {tensor: file for file, tensor in shards.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def uploaded(library: Library, folder: Path) -> dict[str, str]:
    """Every file of a folder as a blob, as a client would upload it: digests by name."""
    return {path.name: library.blobs.add_file(path).digest for path in sorted(folder.iterdir())}


def make(library: Library, folder: Path, name: str = "demo", **said: Any) -> StoredModel:
    """A model in the library from a folder that is written here unless it exists."""
    if not folder.exists():
        write_model(folder)
    spec = CreateSpec(named(name), **said)
    return import_folder(library, named(name), folder, spec)


def derive(library: Library, name: str, parent: str, **said: Any) -> StoredModel:
    return create(library, CreateSpec(named(name), from_=parent, **said), ignore)


def blob_count(root: Path) -> int:
    return len(list((root / "blobs").iterdir()))


def everything_in(root: Path) -> set[str]:
    """Every file below a folder, without the lock and the views."""
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and path.name != "lock" and "views" not in path.relative_to(root).parts
    }
