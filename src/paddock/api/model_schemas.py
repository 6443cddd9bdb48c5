"""The wire types of Ollama's routes about models: what clients ask, and what they expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from paddock.api.described import Options
from paddock.api.schemas import Answer, Body, WireMessage
from paddock.memory.estimate import Need
from paddock.memory.fit import Pool as MemoryPool


class NamedBody(Body, frozen=True):
    """A model under Ollama's present name for the field, or its former one."""

    model: str | None = None
    name: str | None = None

    @property
    def wanted(self) -> str:
        """The name as the client wrote it, or the empty string."""
        return self.model or self.name or ""


class ShowBody(NamedBody, frozen=True):
    """POST /api/show"""

    system: str | None = None
    template: str | None = None
    verbose: bool | None = None
    options: Options | None = None


class CopyBody(Body, frozen=True):
    """POST /api/copy"""

    source: str = ""
    destination: str = ""


class DeleteBody(NamedBody, frozen=True):
    """DELETE /api/delete"""


class TransferBody(NamedBody, frozen=True):
    """POST /api/pull and /api/push"""

    insecure: bool | None = None
    stream: bool | None = None
    username: str | None = None
    password: str | None = None


class CreateBody(NamedBody, frozen=True):
    """POST /api/create"""

    from_: str | None = msgspec.field(name="from", default=None)
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    template: str | None = None
    license: str | list[str] | None = None
    system: str | None = None
    parameters: Options | None = None
    messages: list[WireMessage] | None = None
    quantize: str | None = None
    quantization: str | None = None
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    info: dict[str, Any] | None = None
    remote_host: str | None = None
    draft: str | None = None
    draft_quantize: str | None = None
    draft_files: dict[str, str] | None = None
    stream: bool | None = None


FIELDS: Mapping[str, str] = {
    "model": "honoured: name of a model",
    "name": 'honoured: the former name of "model"',
    "ShowBody.system": "honoured: shown in place of the model's own",
    "ShowBody.template": "honoured: shown in place of the model's own",
    "verbose": "honoured: also the tensors, and what the files say of the tokenizer",
    "options": "honoured: shown over the model's own parameters; 400 as in a request to the model",
    "source": "honoured, required: name of a stored model",
    "destination": "honoured, required: the second name that it gets",
    "insecure": "honoured: a registry is spoken to over plain http; no effect on the Hub, which HF_ENDPOINT names",
    "stream": "honoured: a line for each step, which is the default, or with false one object",
    "username": "honoured: shown to a registry, in place of what registries.toml says; no effect on the Hub, whose "
    "token is read from where Hugging Face keeps it",
    "password": "honoured: of the username; 400 without one",
    "from": "honoured: name of a stored model to start from, or of one to pull first; 400 beside files",
    "files": "honoured: digests of uploaded blobs by file name, to make a model of",
    "adapters": "honoured: digests of uploaded blobs by file name, a plain LoRA adapter of mlx-lm's or PEFT's form, "
    "which is added to the weights of a text model; 400 for one that is for another model, and for quantised weights",
    "template": "honoured: a Jinja template in place of the model's own; 400 for a Go template",
    "license": "honoured: one text or several, shown with the model beside those of the one it starts from",
    "system": "honoured: the system message where a conversation brings none",
    "parameters": "honoured: options that every request to the model starts from; 400 as in a request to it",
    "messages": "honoured: turns before every conversation, each with a role that is system, user or assistant, and a "
    "content; 400 for pictures or calls in them",
    "quantize": "honoured: int4, int8, mxfp4, mxfp8 or nvfp4, as which the weights of a text model are stored; q4 and "
    "fp4 mean int4, q8 and fp8 int8; 400 for other words, and for weights that are quantised already",
    "quantization": 'honoured: the former name of "quantize"',
    "renderer": "400 unless empty: prompts are rendered by the model's Jinja template",
    "parser": "400 unless empty: answers are read by the marks that the model's own files name",
    "requires": "400 unless empty: a model cannot ask for a version of the server",
    "info": "400 unless empty: a model is what its files say",
    "remote_host": "400 unless empty: all models run on this machine",
    "draft": "honoured: name of a stored model to foresee this one's tokens with (not Ollama's)",
    "draft_quantize": "400 unless empty: quantize the draft model when it is made",
    "draft_files": "400 unless empty: name a draft model that is stored already instead",
}


class Details(Answer, kw_only=True, frozen=True):
    """The short facts of a model that every listing shows; the last two where they mean something."""

    parent_model: str
    format: str
    family: str
    families: tuple[str, ...]
    parameter_size: str
    quantization_level: str
    context_length: int = 0
    embedding_length: int = 0


class ListedModel(msgspec.Struct, kw_only=True, frozen=True):
    """A row of /api/tags."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details
    capabilities: tuple[str, ...]


class VersionAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """GET /api/version"""

    version: str


class TagsAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """GET /api/tags"""

    models: tuple[ListedModel, ...]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner needs, in bytes. Loading and working are not at the same time: the total has the larger of them."""

    weights: int
    context: int
    workspace: int
    runtime: int
    prefix_cache: int
    loading: int
    total: int
    draft: int = 0
    """All of the draft model."""

    @classmethod
    def of(cls, need: Need) -> Terms:
        """A need as it goes over the wire."""
        return cls(
            weights=need.weights_bytes,
            context=need.kv_bytes,
            workspace=need.workspace_bytes,
            runtime=need.runtime_bytes,
            prefix_cache=need.prefix_cache_bytes,
            loading=need.load_bytes,
            total=need.total_bytes,
            draft=need.draft_bytes,
        )


class RunningModel(msgspec.Struct, kw_only=True, frozen=True):
    """A row of /api/ps. `size` is what the model holds or was promised, `size_vram` its part on accelerators.

    What follows `context_length` is not Ollama's. `context_length` and `parallel` are those in force, which may be less
    than the default where nobody fixed them.
    """

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int
    state: str
    active_requests: int
    waiting_requests: int
    parallel: int
    promised: int
    """Bytes set aside for it, whatever it holds now."""
    terms: Terms
    """What `promised` is made of."""
    memory: str
    """Which of the memories in /api/status it lives in."""
    peak: int
    """Most bytes that it ever held."""
    peak_foreseen: int
    """What was foreseen for as far as its contexts have been filled; 0 while they have not."""


class PsAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """GET /api/ps"""

    models: tuple[RunningModel, ...]


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that models live in, in bytes."""

    id: str
    total: int
    free: int
    reserve: int
    """Of it, what is kept for the system."""

    @classmethod
    def of(cls, pool: MemoryPool | None, reserve_bytes: int) -> Pool | None:
        """A pool as it goes over the wire, if there is one."""
        if pool is None:
            return None
        return cls(id=pool.id, total=pool.total_bytes, free=max(0, pool.free_bytes), reserve=reserve_bytes)


class ShownNeed(Answer, kw_only=True, frozen=True):
    """What a model needs here for one length of context, or of an image model for one size of pictures."""

    verdict: str
    """loaded | fits | evicts | waits | never"""
    evicts: tuple[str, ...] = ()
    """Models that would be unloaded for it."""
    is_default: bool = False
    """Whether this is what a request gets that asks for nothing."""
    is_lowered: bool = False
    """Whether something that nobody asked for is less than its default, so that it fits."""
    context_length: int = 0
    width: int = 0
    height: int = 0
    parallel: int = 1
    terms: Terms


class ShownMemory(Answer, kw_only=True, frozen=True):
    """What of this machine's memory a model needs, and whether that is there at this moment."""

    pool: Pool | None = None
    """Where it would live."""
    needs: tuple[ShownNeed, ...]


class ShownComponent(Answer, kw_only=True, frozen=True):
    """A part of a model."""

    name: str
    """text | encoder | embeddings | vision | audio | prediction | draft, or of an image model text encoder |
    transformer | VAE"""
    parameters: int
    size: int
    """In bytes, as stored."""
    loaded: int
    """What of that is loaded."""
    quantization_level: str


class ShownOrigin(Answer, kw_only=True, frozen=True):
    """Where a model was pulled from."""

    repository: str
    commit: str = ""


class ShownRecipe(Answer, kw_only=True, frozen=True):
    """How a model's weights were made of others here."""

    kind: str = ""
    """int4, int8, mxfp4, mxfp8 or nvfp4, if they were quantised."""
    mode: str = ""
    bits: int = 0
    group_size: int = 0
    layers: dict[str, tuple[str, ...]] | None = None
    """Layers that are of another kind, by that kind, or by `source` where they are as they were; `*` is any number."""
    source: str = ""
    """The digest of the model that it was made of, or of the list of its files."""
    adapter: str = ""
    """The digest of the adapter that was added, if there was one."""


class ShowAnswer(Answer, kw_only=True, frozen=True):
    """POST /api/show. What follows `modified_at` is not Ollama's."""

    license: str = ""
    modelfile: str = ""
    parameters: str = ""
    template: str = ""
    system: str = ""
    details: Details
    messages: tuple[dict[str, str], ...] = ()
    model_info: dict[str, Any]
    tensors: list[dict[str, Any]] | None = None
    capabilities: tuple[str, ...]
    modified_at: str
    draft: str = ""
    """The name that its draft model had."""
    size: int
    """On disk, in bytes."""
    components: tuple[ShownComponent, ...]
    """What its weights are made of."""
    memory: ShownMemory | None = None
    """For whoever may manage the server."""
    origin: ShownOrigin | None = None
    recipe: ShownRecipe | None = None


class Progress(Answer, frozen=True):
    """A line of what takes long: create, pull."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0
    file: str = ""
    """Not Ollama's: of a pull, the name of the file."""
