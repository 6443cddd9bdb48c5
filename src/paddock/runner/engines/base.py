"""What the work loop needs of an engine, whatever kind of model it runs. It knows no HTTP, no sockets and no MLX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy
import numpy.typing

from paddock.protocol import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Frame,
    ImageRequest,
    MemoryTerms,
    RerankRequest,
    Sampling,
    TokenizeRequest,
)
from paddock.runner.engines.text.answer.style import AnswerStyle
from paddock.runner.engines.text.answer.thinking_limit import ThinkingLimit

Report = Callable[[float], None]
"""Takes the share of the load done, 0 to 1."""

RequestId = int

Pixels = numpy.typing.NDArray[numpy.uint8]
"""Shape [height, width, 3]: red, green, blue."""


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
    draft_path: Path | None = None
    """Folder of a smaller model that foresees tokens for this one."""
    pictures_at_once: int = 1
    """Pictures of one request that are made in one batch; the others of it follow."""
    picture_pixels: int = 0
    """Most pixels of one picture; 0 leaves it to the model."""
    tile_pixels: int = 1024
    """Side of what an image model's autoencoder reads or writes at once; larger pictures go in overlapping tiles, which
    takes less memory but is not quite the same picture."""
    staged: bool = False
    """True never has an image model's text encoder and transformer in memory together."""


class Constraint(Protocol):
    """What one answer may still say. Made anywhere, then used by the engine's thread alone."""

    @property
    def is_finished(self) -> bool:
        """Whether only an end token could follow."""

    @property
    def is_for_calls(self) -> bool:
        """Whether it is only for the calls in an answer: it is told of every token, to see where one begins."""

    @property
    def before(self) -> numpy.typing.NDArray[numpy.uint32] | None:
        """As `allowed`, while the model still thinks: an answer that has to obey may not be left out; None for all."""

    def prescribed(self, remaining: int) -> int | None:
        """The token that has to come next, if it is known already, as at the end of an answer; otherwise None. Asked
        before each token; `remaining` is how many the answer may still have."""

    def permits(self, token: int) -> bool:
        """Whether this token may follow, which is much quicker to tell than all that may. Where only one text can come,
        it may be spelt otherwise than `allowed` has it."""

    def allowed(self) -> numpy.typing.NDArray[numpy.uint32]:
        """The tokens that may follow, a bit for each, 32 to a word, the lowest first."""

    def accept(self, token: int) -> None:
        """The next token is this one, one of the allowed."""


@dataclass(frozen=True)
class Prompt:
    """A request made ready for the engine: checked, rendered and tokenised."""

    tokens: tuple[int, ...]
    sampling: Sampling
    return_context: bool = False
    continues_text: bool = False
    """Whether the answer continues the prompt's own text (a completion) or stands alone (a chat)."""
    style: AnswerStyle = field(default_factory=AnswerStyle)
    """What the answer has to be read with."""
    constraint: Constraint | None = None
    """What the answer, not its thinking, has to obey."""
    thinking_limit: ThinkingLimit | None = None
    """What ends the thinking where it has a bound."""
    tells_prompt: bool = False
    """As in the request."""
    client: str = ""
    tenant: str = ""
    """Both as in the request."""


@dataclass(frozen=True)
class Passages:
    """Texts made ready to be turned into vectors, or pairs of texts into scores: one row each."""

    texts: tuple[tuple[int, ...], ...]
    """Token ids, special ones and all; none is empty."""
    kinds: tuple[tuple[int, ...], ...]
    """For each token, which text of a pair it belongs to: 0 or 1."""
    dimensions: int | None = None
    """So many numbers of a vector are wanted; None is all of them."""
    is_unit: bool = True
    """Whether vectors are to have length one."""


@dataclass(frozen=True)
class EncodedText:
    """A text made ready for a text encoder."""

    tokens: tuple[int, ...]
    length: int
    """So many of the tokens are the text; others only fill up."""


@dataclass(frozen=True)
class PicturePrompt:
    """A request for pictures made ready for the engine: checked, complete and tokenised."""

    texts: tuple[EncodedText, ...]
    """The prompt, and the negative prompt where guidance is at work."""
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    count: int
    pictures: tuple[Pixels, ...] = ()
    """To work from, each in the size that the pipeline sees."""
    strength: float = 1.0
    previews: int = 0
    """How many times each picture is shown before it is there; less often where it has too few steps."""
    details: Mapping[str, str | int | float] = field(default_factory=dict)
    """What a picture's file tells about how it was made, its seed aside."""
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

    def prepare(
        self, request: CompletionRequest | ChatRequest | EmbeddingRequest | RerankRequest | ImageRequest
    ) -> Prompt | Passages | PicturePrompt:
        """Render and tokenise a request. BadRequest and its family. Only an engine that `makes_vectors` is asked for
        them, and only one that `makes_pictures` for those."""

    def render(self, request: ChatRequest) -> str:
        """The prompt that a conversation becomes. BadRequest."""

    def count(self, request: ChatRequest) -> int:
        """How many tokens the prompt has that a conversation becomes, whether or not they fit. BadRequest."""

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Token ids of a text."""

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of token ids. BadRequest for an id outside the vocabulary."""

    def submit(self, request_id: RequestId, prompt: Prompt | Passages | PicturePrompt) -> None:
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
