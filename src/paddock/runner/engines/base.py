"""What the work loop needs of an engine, whatever kind of model it runs. It knows no HTTP, no sockets and no MLX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from paddock.protocol import ChatRequest, CompletionRequest, Frame, MemoryTerms, Sampling, TokenizeRequest

Report = Callable[[float], None]
"""Takes the share of the load done, 0 to 1."""

RequestId = int


@dataclass(frozen=True)
class EngineOptions:
    """What is fixed for the life of an engine."""

    model_path: Path
    num_ctx: int
    """Context length asked for, in tokens; a model's own limit may be lower."""
    parallel: int = 1
    """Sequences that are served at once; others wait in order."""
    num_batch: int = 512
    """Tokens of a prompt that one step reads."""
    num_gpu: int = -1
    """0 keeps the model off accelerators."""
    memory_limit_bytes: int = 0
    """What MLX may hold, its spare buffers included; 0 leaves it to MLX."""
    kv_bits: int = 0
    """Bits of a number in the KV cache, 8 or 4; 0 keeps the model's own numbers."""
    prefix_cache_bytes: int = 0
    """What may be kept of earlier prompts, to read their beginnings only once."""
    keep_packed: bool = False
    """True computes with weights as they are stored, where another form would be faster and larger."""


@dataclass(frozen=True)
class Prompt:
    """A request made ready for the engine: checked, rendered and tokenised."""

    tokens: tuple[int, ...]
    sampling: Sampling
    return_context: bool = False
    continues_text: bool = False
    """Whether the answer continues the prompt's own text (a completion) or stands alone (a chat)."""
    client: str = ""
    tenant: str = ""
    """Both as in the request."""


class Engine(Protocol):
    """One loaded model.

    `load`, `submit`, `step`, `cancel`, `memory` and `shrink` are called by the one thread that owns MLX, `prepare`,
    `render`, `tokenize` and `detokenize` by one other thread: these four must not touch MLX. Errors are those of
    `errors.py`.
    """

    @property
    def context_length(self) -> int:
        """Tokens that one sequence may hold; known after `load`."""

    @property
    def has_work(self) -> bool:
        """Whether `step` has anything to do."""

    @property
    def tokens_generated(self) -> int:
        """Tokens generated since the start."""

    @property
    def overdue(self) -> str:
        """What of `prepare`, `tokenize` and so on takes longer than it may, as a sentence; empty if nothing does. Any
        thread may ask."""

    def load(self, report: Report) -> None:
        """Read the model. DamagedModel, UnsupportedModel or OutOfMemory."""

    def prepare(self, request: CompletionRequest | ChatRequest) -> Prompt:
        """Render and tokenise a request. BadRequest and its family."""

    def render(self, request: ChatRequest) -> str:
        """The prompt that a conversation becomes. BadRequest."""

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Token ids of a text."""

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of token ids. BadRequest for an id outside the vocabulary."""

    def submit(self, request_id: RequestId, prompt: Prompt) -> None:
        """Queue a request; its frames come from `step`."""

    def step(self) -> list[tuple[RequestId, Frame]]:
        """Do a little work and return the frames it made. What goes wrong in one request fails that one alone, as a
        frame; an exception from here means that the whole engine stumbled."""

    def cancel(self, request_id: RequestId) -> None:
        """Forget a request, which then has no more frames. Unknown ids are ignored."""

    def memory(self) -> MemoryTerms:
        """What is held now."""

    def shrink(self, keep_bytes: int) -> int:
        """Give back all but so much of what is kept only to be faster; returns the bytes that became free."""
