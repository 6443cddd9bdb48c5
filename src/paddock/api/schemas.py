"""The wire types of Ollama's API: bodies as clients send them, answers as clients expect them.

Bodies ignore fields that Ollama does not document, and take null for "not given", as its own decoder does. Answers
leave out what has no value. Durations are nanoseconds.
"""

from __future__ import annotations

from typing import Any

import msgspec


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


class WireMessage(Body, frozen=True):
    """One turn of a conversation, as clients write it."""

    role: str = ""
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Any] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ChatBody(InferenceBody, frozen=True):
    """POST /api/chat"""

    messages: list[WireMessage] | None = None
    tools: list[Any] | None = None


class AnswerMessage(msgspec.Struct, kw_only=True, frozen=True):
    """The assistant's turn; its content is there even when empty."""

    role: str = "assistant"
    content: str = ""


class Metrics(Answer, frozen=True):
    """What the last chunk of an answer tells about the work."""

    done_reason: str | None = None
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    context: tuple[int, ...] | None = None


class GenerateAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What every chunk of /api/generate holds."""

    model: str
    created_at: str
    response: str = ""
    done: bool = False


class ChatAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What every chunk of /api/chat holds."""

    model: str
    created_at: str
    message: AnswerMessage = AnswerMessage()
    done: bool = False


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


class RunningModel(msgspec.Struct, kw_only=True, frozen=True):
    """A row of /api/ps. `size` is what the model holds or was promised, `size_vram` its part on accelerators."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int


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


class Progress(Answer, frozen=True):
    """A line of what takes long: create, pull."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0
