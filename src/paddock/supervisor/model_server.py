"""The contract of one loaded model, whatever its kind and whatever runs it.

It is the counterpart of Ollama's `llm.LlamaServer`. `RunnerServer` implements it for every engine, since every runner
speaks `protocol`; `tests/fakes` has one with scripted misbehaviour. The scheduler knows models only through it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from paddock.memory.devices import Device, SystemMemory
from paddock.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingReply,
    EmbeddingRequest,
    Frame,
    Health,
    ImageRequest,
    RerankReply,
    RerankRequest,
    TokenizeRequest,
)


@dataclass(frozen=True)
class MemorySize:
    """What a loaded model holds, in bytes: in all, and the part of it on accelerators."""

    total_bytes: int
    device_bytes: int


@dataclass(frozen=True)
class RunnerOptions:
    """What is fixed for the life of a runner; a request that fixes another value needs a reload."""

    num_ctx: int
    """Context length in tokens."""
    parallel: int = 1
    """Sequences that may be served at once; of an image model, pictures that are made at once."""
    num_batch: int = 512
    """Tokens of a prompt read in one step."""
    num_gpu: int = -1
    """0 keeps the model off accelerators; anything else uses what is there."""
    num_thread: int = 0
    """Threads for the CPU's matrix products; 0 lets the library choose."""
    kv_bits: int = 0
    """Bits of a number in the KV cache, 8 or 4; 0 keeps the model's own numbers."""
    prefix_cache_bytes: int = 0
    """What the runner may keep of earlier prompts."""
    keep_packed: bool = False
    """True has it compute with weights as they are stored, where another form would be faster and larger."""
    speculates: bool = False
    """Whether it loads the model's draft as well, to foresee tokens with."""
    picture_pixels: int = 0
    """Most pixels of one picture; 0 leaves it to the model. This and what follows are only for image models."""
    references: int = 0
    """Pictures that may be looked at while one is made. Nothing in the runner depends on it but its memory."""
    tile_pixels: int = 0
    """Side of what the autoencoder reads or writes at once; 0 is the engine's own, 1024."""
    staged: bool = False
    """Whether the text encoder and the transformer are in memory in turn, never together."""


@dataclass(frozen=True)
class RunnerSpec:
    """Everything that it takes to start a runner. `environment` is added to the server's own, scrubbed one."""

    name: str
    """The model's short name, for the process list and the log."""
    engine: str
    """text | vision | embedding | image"""
    model_path: Path
    """Folder of links to the model's files."""
    options: RunnerOptions
    draft_path: Path | None = None
    """As `model_path`, of the model's draft, where the options say that it speculates."""
    environment: dict[str, str] = field(default_factory=dict)
    memory_limit_bytes: int = 0
    """What the engine may hold of the machine's memory, its caches included; 0 leaves it to the engine."""
    runners: int = 0
    """That share the processors, this one included, where `num_thread` leaves the threads open; 0 if none do."""


class ModelServer(Protocol):
    """One loaded model. Errors are those of `errors.py`; every method may be cancelled."""

    @property
    def model_path(self) -> Path:
        """The folder of the model's files."""

    @property
    def pid(self) -> int:
        """The process, or -1 when there is none."""

    @property
    def endpoint(self) -> str:
        """Where it listens (the path of a Unix socket), or the empty string."""

    @property
    def context_length(self) -> int:
        """Tokens that one sequence may hold; 0 until it runs."""

    @property
    def has_exited(self) -> bool:
        """Whether the process has ended, for whatever reason."""

    async def load(self, system: SystemMemory, devices: Sequence[Device], require_full: bool) -> list[str]:
        """Start the process and return the ids of the devices that it will use; does not wait until it is ready.

        `require_full`: other models are resident, so refuse (NeverFits) rather than start something that only
        partly fits. UnsupportedPlatform before anything starts.
        """

    async def wait_until_running(self) -> None:
        """Return when the model is ready. LoadFailed, OutOfMemory or UnsupportedModel with the runner's last words,
        as soon as they are known; also when no progress is seen for the load timeout."""

    async def ping(self) -> None:
        """Return if the runner answers within its deadline; RunnerDied otherwise. Never waits for the engine."""

    def completion(self, request: CompletionRequest) -> AsyncGenerator[Frame, None]:
        """Frames of one generation, ending in Done. Failed frames arrive as exceptions; a runner that ends
        mid-stream raises RunnerDied with its last words. Closing the iterator cancels the generation."""

    def chat(self, request: ChatRequest) -> AsyncGenerator[Frame, None]:
        """As `completion`, through the model's chat template."""

    def image(self, request: ImageRequest) -> AsyncGenerator[Frame, None]:
        """As `completion`, for pictures: steps as they are made, each picture as it is ready, then Done."""

    async def apply_chat_template(self, request: ChatRequest) -> str:
        """The prompt that `chat` would send to the model."""

    async def count(self, request: ChatRequest) -> int:
        """Tokens of the prompt that `chat` would send to the model, even if they are too many for it."""

    async def embedding(self, request: EmbeddingRequest) -> EmbeddingReply:
        """Vectors for a batch of texts."""

    async def rerank(self, request: RerankRequest) -> RerankReply:
        """Scores for documents, one each."""

    async def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Token ids of a text."""

    async def detokenize(self, request: DetokenizeRequest) -> str:
        """The text of token ids; BadRequest for an id outside the vocabulary."""

    async def memory_size(self) -> MemorySize:
        """Live figures, or the last known ones if the runner does not answer quickly."""

    async def vram_by_device(self, device_id: str) -> int:
        """Bytes held on one device."""

    async def device_infos(self) -> list[Device]:
        """The devices as the runner sees them; empty if it cannot tell."""

    @property
    def last_health(self) -> Health | None:
        """What it last said of itself; None if it has said nothing yet."""

    async def shrink_caches(self, keep_bytes: int) -> int:
        """Have it give back what it keeps only to be faster, all but so much; returns the bytes that became free."""

    async def wait_exited(self) -> str:
        """Return when the process has ended, with the reason in one sentence."""

    async def close(self) -> None:
        """Stop the process: drain, SIGTERM to its group, SIGKILL last; returns when it is gone. Idempotent."""
