"""The config blob: what a manifest's `config` points at. Ollama's fields, and after them our own."""

from __future__ import annotations

import msgspec

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.store.facts import ModelFacts
from paddock.store.images import ImageFacts
from paddock.store.layers import Layers
from paddock.store.tensors import human_count

MAX_CONFIG_BLOB_BYTES = 1024 * 1024


class Origin(msgspec.Struct, frozen=True):
    """Where on the Hugging Face Hub a model was pulled from."""

    repository: str
    """`ORG/REPO`"""
    commit: str


class Recipe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a model's weights were made of others here."""

    kind: str = ""
    """As they were quantised: int4, int8, mxfp4, mxfp8 or nvfp4; empty if they were not."""
    mode: str = ""
    bits: int = 0
    group_size: int = 0
    """Numbers that share a scale; with the two above, MLX's words for the kind."""
    layers: dict[str, tuple[str, ...]] = {}
    """Layers that are of another kind, by that kind, or by `source` where they are as they were. A `*` stands for
    every number."""
    source: str = ""
    """The digest of the model that it was made of, or of the list of its files."""
    adapter: str = ""
    """The digest of the adapter's weights that were added; empty for none."""


class StoredConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Facts as they were found when the model was created, so that a listing need not read weights again."""

    model_format: str = ""
    model_family: str = ""
    model_families: tuple[str, ...] | None = None
    model_type: str = ""
    """The parameter count for people."""
    file_type: str = ""
    """The quantisation level."""
    capabilities: tuple[str, ...] | None = None
    context_length: int = 0
    embedding_length: int = 0
    architecture: str = ""
    os: str = ""
    engine: str = ""
    """Empty where another program made the model: then its facts are in its files alone."""
    parameter_count: int = 0
    weights_bytes: int = 0
    parent_model: str = ""
    block_count: int = 0
    head_count_kv: int = 0
    head_dim: int = 0
    layers: Layers | None = None
    float32_bytes: int = 0
    dense_bytes: int = 0
    largest_tensor_bytes: int = 0
    image: ImageFacts | None = None
    draft: StoredConfig | None = None
    """Of the draft model; its `parent_model` is the name that it had."""
    origin: Origin | None = None
    recipe: Recipe | None = None

    @classmethod
    def of(
        cls,
        facts: ModelFacts,
        parent_model: str = "",
        draft_model: str = "",
        origin: Origin | None = None,
        recipe: Recipe | None = None,
    ) -> StoredConfig:
        """The config of a model with these facts; `draft_model` is the name of its draft, if it has one."""
        return cls(
            model_format=facts.format,
            model_family=facts.family,
            model_families=facts.families,
            model_type=facts.parameter_size,
            file_type=facts.quantization_level,
            capabilities=facts.capabilities,
            context_length=facts.context_length,
            embedding_length=facts.embedding_length,
            architecture="amd64",  # what registries expect of every model
            os="linux",
            engine=facts.engine,
            parameter_count=facts.parameter_count,
            weights_bytes=facts.weights_bytes,
            parent_model=parent_model,
            block_count=facts.block_count,
            head_count_kv=facts.head_count_kv,
            head_dim=facts.head_dim,
            layers=facts.layers,
            float32_bytes=facts.float32_bytes,
            dense_bytes=facts.dense_bytes,
            largest_tensor_bytes=facts.largest_tensor_bytes,
            image=facts.image,
            draft=cls.of(facts.draft, draft_model) if facts.draft else None,
            origin=origin,
            recipe=recipe,
        )

    @classmethod
    def decode(cls, data: bytes, display: str) -> StoredConfig:
        """The config in a blob's bytes; `display` is what messages call the model.

        DamagedModel if it cannot be read, UnsupportedModel if another program made it for its own engines.
        """
        try:
            config = msgspec.json.decode(data, type=cls)
        except (ValueError, RecursionError):
            raise DamagedModel(
                f"Model '{display}' is damaged: its description cannot be read; create it again."
            ) from None
        if config.model_format != "safetensors":
            kind = "GGUF" if config.model_format == "gguf" else "another program's"
            raise UnsupportedModel(f"Model '{display}' is in {kind} format: create it from safetensors files instead.")
        return config

    def encode(self) -> bytes:
        """The bytes to store; the same config always gives the same ones."""
        return msgspec.json.encode(self)

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(
            engine=self.engine,
            family=self.model_family,
            families=self.model_families or (self.model_family,),
            parameter_count=self.parameter_count,
            parameter_size=self.model_type or human_count(self.parameter_count),
            quantization_level=self.file_type,
            context_length=self.context_length,
            embedding_length=self.embedding_length,
            weights_bytes=self.weights_bytes,
            capabilities=self.capabilities or (),
            format=self.model_format,
            block_count=self.block_count,
            head_count_kv=self.head_count_kv,
            head_dim=self.head_dim,
            layers=self.layers,
            float32_bytes=self.float32_bytes,
            dense_bytes=self.dense_bytes,
            largest_tensor_bytes=self.largest_tensor_bytes,
            image=self.image,
            draft=self.draft.facts if self.draft else None,
        )
