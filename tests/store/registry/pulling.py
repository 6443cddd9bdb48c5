"""What tests of registries share: a model as a registry has it, and a pull and a push that keep their lines."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy
from safetensors.numpy import save_file

from paddock.store.library import Library, StoredModel
from paddock.store.names import ModelName
from paddock.store.registry import pull as pulling
from paddock.store.registry import push as pushing
from paddock.store.registry.settings import Credentials, Registry, RegistrySettings
from paddock.store.registry.source import Asked, RegistrySource, registry_source
from paddock.store.transfer.progress import Line
from paddock.store.transfer.reach import Reach
from tests.fakes.fake_registry import MANIFEST_TYPE, FakeRegistry, digest_of
from tests.store.making import CONFIG, make, named, write_model
from tests.store.telling import Told

MODEL = "me/model"
"""The repository that the fixtures pull from."""
WEIGHTS = "model.safetensors"


def write_large_model(folder: Path, values: int, fill: float = 0.0) -> Path:
    """A model whose weights have so many values of four bytes besides."""
    write_model(folder, fill=fill)
    more = numpy.random.default_rng(7).integers(0, 2**31, values, numpy.int32)
    save_file({"embed.weight": numpy.full((16, 8), fill, numpy.float32), "more": more}, folder / WEIGHTS)
    return folder


def serve_model(
    registry: FakeRegistry, folder: Path, repository: str = MODEL, tag: str = "latest", **said: Any
) -> bytes:
    """Make a model of a folder in a library of its own, and give the registry what that stores; its manifest."""
    library = Library(folder.parent / f"{folder.name}-library")
    model = make(library, folder, "served", **said)
    data = library.manifest_bytes(named("served"))
    blobs = {layer.digest: library.blobs.path(layer.digest).read_bytes() for layer in model.manifest.blobs}
    registry.add_model(repository, tag, data, blobs)
    return data


def per_tensor_model(registry: FakeRegistry, tmp_path: Path, repository: str = MODEL) -> bytes:
    """A model as Ollama stores safetensors models: a blob for each tensor, with a layout of its own; its manifest."""
    layers: list[dict[str, Any]] = []
    for number, name in enumerate(("model.embed_tokens.weight", "model.norm.weight")):
        path = tmp_path / f"{number}.safetensors"
        save_file({name: numpy.full((16, 8) if number == 0 else (8,), number, numpy.float32)}, path)
        layers.append(_layer(registry, repository, "application/vnd.ollama.image.tensor", path.read_bytes(), name))
    for name, data in {"config.json": msgspec.json.encode(CONFIG), "tokenizer.json": b"{}"}.items():
        layers.append(_layer(registry, repository, "application/vnd.ollama.image.json", data, name))
    config = {
        "model_format": "safetensors",
        "model_family": "llama",
        "requires": "0.14.0",
        "capabilities": ["completion"],
    }
    data = manifest_bytes(
        _layer(registry, repository, "application/vnd.docker.container.image.v1+json", msgspec.json.encode(config)),
        layers,
        indent=3,
        unknown={"kept": [1, 2]},
    )
    registry.add_manifest(repository, "latest", data)
    return data


def _layer(registry: FakeRegistry, repository: str, media_type: str, data: bytes, name: str = "") -> dict[str, Any]:
    layer = {"mediaType": media_type, "digest": registry.add_blob(repository, data), "size": len(data)}
    return {**layer, "name": name} if name else layer


def manifest_bytes(config: dict[str, Any], layers: list[dict[str, Any]], indent: int = 0, **more: Any) -> bytes:
    body = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers, **more}
    data = msgspec.json.encode(body)
    return msgspec.json.format(data, indent=indent) if indent else data


def with_layer(data: bytes, **changes: Any) -> bytes:
    """A manifest whose first layer is changed; None takes a field away."""
    body = msgspec.json.decode(data)
    body["layers"][0].update(changes)
    body["layers"][0] = {name: value for name, value in body["layers"][0].items() if value is not None}
    return msgspec.json.encode(body)


@dataclass
class Client(Told):
    """Pulls and pushes between one library and one registry, and remembers the lines of the last time."""

    library: Library
    registry: FakeRegistry
    settings: RegistrySettings
    credentials: Credentials = field(default_factory=Credentials)
    realm: str = ""
    lines: list[Line] = field(default_factory=list)

    def with_settings(self, **changes: Any) -> Client:
        return replace(self, settings=replace(self.settings, **changes))

    def with_credentials(self, *shown: str, **more: str) -> Client:
        return replace(self, credentials=Credentials(*shown, **more))

    def name(self, model: str = MODEL) -> ModelName:
        return named(f"{self.registry.host}/{model}")

    def source(self, model: str = MODEL) -> RegistrySource:
        found = registry_source(
            self.name(model), "", {self.registry.host: Registry(realm=self.realm)}, Asked(True, self.credentials)
        )
        assert found
        return found

    async def pull(self, model: str = MODEL, name: str = "", reach: Reach | None = None) -> StoredModel:
        order = pulling.Order(named(name) if name else self.name(model), self.source(model))
        return await self.told(lambda board: pulling.pull(self.library, order, self.settings, board, reach))

    async def push(self, model: str = MODEL, reach: Reach | None = None) -> None:
        order = pushing.Order(self.name(model), self.source(model))
        await self.told(lambda board: pushing.push(self.library, order, self.settings, board, reach))


def weights_of(data: bytes) -> str:
    """The digest of the weights that a manifest names."""
    layers = msgspec.json.decode(data)["layers"]
    return str(next(layer["digest"] for layer in layers if layer.get("name") == WEIGHTS))


def stored_blobs(library: Library) -> dict[str, bytes]:
    return {digest_of(path.read_bytes()): path.read_bytes() for path in (library.root / "blobs").iterdir()}
