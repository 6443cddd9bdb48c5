"""The wire types of Ollama's API: bodies as clients send them, answers as clients expect them.

Bodies ignore fields that Ollama does not document, and take null for "not given", as its own decoder does. Answers
leave out what has no value. Durations are nanoseconds.
"""

from __future__ import annotations

from typing import Any

import msgspec

from paddock.memory.estimate import Need


class Body(msgspec.Struct, kw_only=True, frozen=True):
    """Base of all request bodies."""


class Answer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Base of all answers: fields that hold their default are left out."""


# ---- inference ------------------------------------------------------------------------------------------------------


class InferenceBody(Body, frozen=True):
    """What generating and chatting have in common."""

    model: str | None = None
    stream: bool | None = None
    format: Any = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None
    think: Any = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class GenerateBody(InferenceBody, frozen=True):
    """POST /api/generate"""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    negative_prompt: str | None = None
    """Not Ollama's: what a picture should not show."""


class WireFunction(Body, frozen=True):
    """Which function was called, with what."""

    name: str = ""
    arguments: dict[str, Any] | None = None


class WireCall(Body, frozen=True):
    """A call that the model made in an earlier turn, as clients hand it back."""

    id: str | None = None
    function: WireFunction | None = None


class WireMessage(Body, frozen=True):
    """One turn of a conversation, as clients write it."""

    role: str = ""
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[WireCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ChatBody(InferenceBody, frozen=True):
    """POST /api/chat"""

    messages: list[WireMessage] | None = None
    tools: list[Any] | None = None


# ---- models ---------------------------------------------------------------------------------------------------------


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
    options: dict[str, Any] | None = None


class CopyBody(Body, frozen=True):
    """POST /api/copy"""

    source: str = ""
    destination: str = ""


class PullBody(NamedBody, frozen=True):
    """POST /api/pull"""

    insecure: bool | None = None
    stream: bool | None = None


class CreateBody(NamedBody, frozen=True):
    """POST /api/create"""

    from_: str | None = msgspec.field(name="from", default=None)
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    template: str | None = None
    license: str | list[str] | None = None
    system: str | None = None
    parameters: dict[str, Any] | None = None
    messages: list[WireMessage] | None = None
    quantize: str | None = None
    quantization: str | None = None
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    info: dict[str, Any] | None = None
    remote_host: str | None = None
    draft: str | None = None
    """Not Ollama's: the name of a model that is here, to foresee this one's tokens with."""
    draft_quantize: str | None = None
    draft_files: dict[str, str] | None = None
    stream: bool | None = None


class Details(msgspec.Struct, kw_only=True, frozen=True):
    """The short facts of a model that every listing shows."""

    parent_model: str
    format: str
    family: str
    families: tuple[str, ...]
    parameter_size: str
    quantization_level: str
    context_length: int
    embedding_length: int


class ListedModel(msgspec.Struct, kw_only=True, frozen=True):
    """A row of /api/tags."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details
    capabilities: tuple[str, ...]


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


class StatusAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """GET /api/status: what an operator wants to know. Nothing in it is taken from a plan: all of it was seen."""

    status: str
    """ok | degraded"""
    version: str
    uptime_seconds: float
    problems: tuple[str, ...]
    """Why it is degraded, a sentence each."""
    queue: QueueStatus
    runners: tuple[RunnerStatus, ...]
    memory: tuple[PoolStatus, ...]
    store: StoreStatus


class QueueStatus(msgspec.Struct, kw_only=True, frozen=True):
    """Requests that wait for a model."""

    waiting: int
    limit: int
    oldest_seconds: float
    reasons: dict[str, str]
    """By model: why it is not loaded yet."""


class RunnerStatus(msgspec.Struct, kw_only=True, frozen=True):
    """One runner process."""

    model: str
    digest: str
    state: str
    """loading | ready | stopping"""
    progress: float
    """Share of its load that is done."""
    last_moved_seconds: float | None
    """Since its work last moved; null while it has not answered yet."""
    tokens: int
    """Generated since its start."""
    active_requests: int
    waiting_requests: int
    context_length: int
    parallel: int
    size: int
    promised: int


class PoolStatus(msgspec.Struct, kw_only=True, frozen=True):
    """One memory: main memory, or an accelerator's."""

    id: str
    total: int
    free: int
    """As far as models may have it."""
    reserve: int


class StoreStatus(msgspec.Struct, kw_only=True, frozen=True):
    """The store of models."""

    is_readable: bool
    is_writable: bool
    free: int
    """Bytes on its disk."""


class ShowAnswer(Answer, kw_only=True, frozen=True):
    """POST /api/show"""

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
    """Not Ollama's: the name that its draft model had."""


class Progress(Answer, frozen=True):
    """A line of what takes long: create, pull."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0
