"""Every message between the server and a runner, and its encoding.

The two are separate programs that share only this file and `errors.py`. A runner speaks HTTP/1.1 on a Unix socket:

    GET  /health        -> Health
    POST /load          LoadRequest       -> Health (a runner without a model only)
    POST /completion    CompletionRequest -> NDJSON of Frame
    POST /chat          ChatRequest       -> NDJSON of Frame
    POST /template      ChatRequest       -> TemplateReply
    POST /tokenize      TokenizeRequest   -> TokenizeReply
    POST /detokenize    DetokenizeRequest -> DetokenizeReply
    POST /embedding     EmbeddingRequest  -> EmbeddingReply
    POST /shrink        ShrinkRequest     -> ShrinkReply

A stream of frames ends in exactly one Done or Failed; nothing follows it. Errors before the first frame come as a
non-200 status with one Failed as the body. Closing the connection cancels the request within one engine step.
"""

from __future__ import annotations

import enum
from typing import Any, Literal, TypeVar

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of all messages: immutable, and strict about what it does not know."""


# ---- what the server asks -------------------------------------------------------------------------------------------


class Sampling(Message, frozen=True):
    """How tokens are chosen. Names, meanings and defaults are Ollama's."""

    temperature: float = 0.8
    """0 is greedy."""
    top_k: int = 40
    """Keep the k likeliest tokens; 0 or less keeps all."""
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    """Window of the penalties in tokens, prompt included; 0 turns them off, -1 is the whole context."""
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = -1
    """Negative draws a fresh one; else the same request gives the same text."""
    num_predict: int = -1
    """Most tokens to generate; negative goes on until the context is full."""
    num_keep: int = 4
    """Tokens at the start that survive when a prompt is truncated."""
    stop: tuple[str, ...] = ()
    """Strings that end the text; they are not part of it."""
    logit_bias: dict[int, float] = {}
    """Added to the logits of these token ids, before everything else."""
    logprobs: bool = False
    """Whether the answer tells how likely each of its tokens was."""
    top_logprobs: int = 0
    """And so many of the likeliest tokens at its place, 0 to 20."""


class CompletionRequest(Message, frozen=True):
    """Continue `prompt` as it stands: no template is applied."""

    prompt: str
    context: tuple[int, ...] = ()
    """Token ids that precede the prompt (Ollama's `context`); out-of-range ids are refused."""
    sampling: Sampling = Sampling()
    truncate: bool = False
    """True cuts a prompt that is too long (keeping `num_keep` tokens and the end); False answers ContextTooLong."""
    return_context: bool = False
    """Whether Done carries all token ids, prompt and answer."""
    answer_schema: str = ""
    """JSON Schema, as JSON, that the answer has to obey; empty leaves it free."""
    client: str = ""
    """Who asks: clients take turns, requests of one client come in their order."""
    tenant: str = ""
    """Whose data this is: nothing that is kept of one tenant's prompts is ever used for another's."""


class CalledTool(Message, frozen=True):
    """A call that the model made in an earlier turn."""

    name: str
    arguments: dict[str, Any]
    id: str = ""


class ChatMessage(Message, frozen=True):
    """One turn of a conversation."""

    role: str
    content: str
    thinking: str = ""
    tool_calls: tuple[CalledTool, ...] = ()
    tool_name: str = ""
    """Of a tool's answer: which tool it was."""
    tool_call_id: str = ""
    """And which call it answers."""


class ChatRequest(Message, frozen=True):
    """Answer a conversation through the model's chat template."""

    messages: tuple[ChatMessage, ...]
    context: tuple[int, ...] = ()
    """Token ids that precede the rendered conversation (only /api/generate sends them)."""
    template: str | None = None
    """A Jinja chat template in place of the model's own."""
    think: bool | Literal["low", "medium", "high"] | None = None
    """None leaves it to the model."""
    tools: tuple[dict[str, Any], ...] = ()
    """Functions that the model may call, as OpenAI writes them: {"type": "function", "function": {...}}."""
    tool_choice: Literal["auto", "none", "required"] = "auto"
    tool_choice_name: str = ""
    """With "required": the one function that has to be called; empty for any."""
    answer_schema: str = ""
    """JSON Schema, as JSON, that the answer (not its thinking) has to obey; empty leaves it free."""
    sampling: Sampling = Sampling()
    truncate: bool = True
    """True drops the oldest messages, never the system ones nor the last; False answers ContextTooLong."""
    return_context: bool = False
    client: str = ""
    tenant: str = ""
    """Both as in CompletionRequest."""


class LoadRequest(Message, frozen=True):
    """Become the runner of a model. The arguments are those that its command line would have had."""

    arguments: tuple[str, ...]


class TokenizeRequest(Message, frozen=True):
    text: str
    add_special_tokens: bool = False


class DetokenizeRequest(Message, frozen=True):
    tokens: tuple[int, ...]


class EmbeddingRequest(Message, frozen=True):
    inputs: tuple[str, ...]
    truncate: bool = True
    dimensions: int | None = None


class ShrinkRequest(Message, frozen=True):
    """Give back memory that is kept only to be faster: spare buffers of the allocator, prefixes of earlier prompts."""

    keep_bytes: int = 0
    """So much may stay."""


# ---- what the runner answers ----------------------------------------------------------------------------------------


class TemplateReply(Message, frozen=True):
    prompt: str


class TokenizeReply(Message, frozen=True):
    tokens: tuple[int, ...]


class DetokenizeReply(Message, frozen=True):
    text: str


class EmbeddingReply(Message, frozen=True):
    """One unit-length vector per input, and the prompt tokens of all inputs together."""

    embeddings: tuple[tuple[float, ...], ...]
    prompt_tokens: int


class ShrinkReply(Message, frozen=True):
    freed_bytes: int
    """As the allocator counts it."""


class Likelihood(Message, frozen=True):
    """How likely a token was, in the model's own distribution (before temperature, penalties and constraints)."""

    token: str
    logprob: float
    """Natural logarithm."""
    bytes: tuple[int, ...] = ()
    """The token as UTF-8; it may be a part of a character."""


class TokenLogprobs(Likelihood, frozen=True):
    """A token of the answer, and the likeliest at its place."""

    top: tuple[Likelihood, ...] = ()


class Text(Message, frozen=True, tag="text"):
    """Some more of the answer: whole characters only."""

    content: str
    logprobs: tuple[TokenLogprobs, ...] = ()
    """Of the tokens made since the frame before, if they were asked for."""


class Thinking(Message, frozen=True, tag="thinking"):
    """Some more of what the model thinks before it answers: whole characters only."""

    content: str
    logprobs: tuple[TokenLogprobs, ...] = ()


class ToolCall(Message, frozen=True, tag="tool_call"):
    """The model calls a tool: always the whole call."""

    id: str
    name: str
    arguments: dict[str, Any]


class PromptProgress(Message, frozen=True, tag="prompt_progress"):
    """A long prompt is being read: tokens done of tokens in all."""

    done: int
    total: int


class Done(Message, frozen=True, tag="done"):
    """The answer is complete. Counts are tokens, durations nanoseconds."""

    reason: Literal["stop", "length"]
    prompt_eval_count: int
    prompt_eval_duration_ns: int
    eval_count: int
    eval_duration_ns: int
    context: tuple[int, ...] | None = None
    cached_tokens: int = 0
    """Tokens of the prompt that had been read before, for another request; `prompt_eval_count` has them in it."""


class Failed(Message, frozen=True, tag="failed"):
    """The request ends here, in an error: `code` names a class of `errors.py`."""

    code: str
    message: str


Frame = Text | Thinking | ToolCall | PromptProgress | Done | Failed


class RunnerState(enum.StrEnum):
    """Where a runner is in its life, as it tells it itself."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    """The load failed; `Health.failure` says why, and the process ends soon after."""


class Activity(enum.StrEnum):
    """What the work loop is doing."""

    IDLE = "idle"
    LOAD = "load"
    PROMPT = "prompt"
    """A step that may read a chunk of a prompt."""
    DECODE = "decode"
    """A step that makes a token for each sequence."""
    IMAGE = "image"
    """A step of a picture."""


class MemoryTerms(Message, frozen=True):
    """What the runner measures of itself, in bytes."""

    weights_bytes: int = 0
    active_bytes: int = 0
    """Held by arrays now (weights included)."""
    cache_bytes: int = 0
    """Held by MLX's allocator for reuse."""
    peak_bytes: int = 0
    """Most that arrays ever held."""
    resident_bytes: int = 0
    """The process's resident set."""
    private_bytes: int = 0
    """The part of it that this process alone holds: no files, nothing shared. On the CPU it has the arrays in it."""
    private_peak_bytes: int = 0
    """Its high-water mark."""
    runtime_bytes: int = 0
    """What was private beside the arrays when the load was over; 0 with an accelerator, where it cannot be told."""
    load_peak_bytes: int = 0
    """`private_peak_bytes` when the load was over, with an accelerator `peak_bytes`."""
    prefill_peak_bytes: int = 0
    """Most that arrays held while the last prompt was read."""
    request_peak_bytes: int = 0
    """Most that arrays held since the engine last began to work."""
    longest_tokens: int = 0
    """Most tokens that one sequence has had."""
    most_sequences: int = 0
    """Most sequences that were at work at once."""
    most_tokens: int = 0
    """Most tokens that all sequences at work had together."""
    is_on_accelerator: bool = False
    """Whether arrays live in an accelerator's memory."""

    @property
    def most_bytes(self) -> int:
        """The peak of what counts where the model lives: of its arrays, or on the CPU of the whole process."""
        return self.peak_bytes if self.is_on_accelerator else self.private_peak_bytes


class Health(Message, frozen=True):
    """The answer of GET /health; it never waits for the engine."""

    state: RunnerState
    pid: int
    progress: float = 0.0
    """Share of the load done, 0 to 1."""
    context_length: int = 0
    """Tokens that one sequence may hold: num_ctx, and never more than the model's own limit."""
    memory: MemoryTerms = MemoryTerms()
    steps: int = 0
    """Engine steps since the start: the heartbeat of the work loop."""
    tokens: int = 0
    """Tokens generated since the start."""
    active_requests: int = 0
    """Requests that still wait for something that this process must do."""
    idle_seconds: float = 0.0
    """Since the work loop last moved."""
    beats: int = 0
    """Moves of whatever does the work: steps of the engine, commands of the loop, requests made ready for it."""
    activity: Activity = Activity.IDLE
    lease_seconds: float = 0.0
    """Longest time that what it is doing now may take until the next beat; 0 where there is no such promise."""
    failure: Failed | None = None


# ---- the encoding ---------------------------------------------------------------------------------------------------

AnyMessage = TypeVar("AnyMessage", bound=Message)

_encoder = msgspec.json.Encoder()
_frame_decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)


def encode(message: Message) -> bytes:
    """A message as JSON."""
    return _encoder.encode(message)


def encode_line(frame: Frame) -> bytes:
    """A frame as one line of NDJSON."""
    return _encoder.encode(frame) + b"\n"


def decode_frame(line: bytes) -> Frame:
    """One line of a stream; raises msgspec.DecodeError for anything that is no frame."""
    return _frame_decoder.decode(line)


def decode(data: bytes, kind: type[AnyMessage]) -> AnyMessage:
    """A message of a known kind; raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=kind)
