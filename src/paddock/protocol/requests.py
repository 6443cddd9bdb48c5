"""What the server asks of a runner."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from paddock.protocol.message import Message


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
    logit_bias: dict[int, float] = msgspec.field(default_factory=dict)
    """Added to the logits of these token ids, before everything else."""
    logprobs: bool = False
    """Whether the answer tells how likely each of its tokens was."""
    top_logprobs: int = 0
    """And so many of the likeliest tokens at its place, 0 to 20."""


class CompletionRequest(Message, frozen=True):
    """Continue `prompt` as it stands: no template is applied."""

    prompt: str
    suffix: str = ""
    """Text that comes after the answer, which then fills the gap between the two; only for models made for it."""
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
    thinking_budget: int = 0
    """Most tokens of thinking: after them it is closed, and the answer begins. 0 sets no bound."""
    prefill: str = ""
    """How the answer begins: the model goes on after it, and it is not told again."""
    tells_prompt: bool = False
    """Whether a PromptProgress is the first frame: the prompt's tokens, and those of them that were read before."""
    tools: tuple[dict[str, Any], ...] = ()
    """Functions that the model may call, as OpenAI writes them: {"type": "function", "function": {...}}."""
    tool_choice: Literal["auto", "none", "required"] = "auto"
    tool_choice_name: str = ""
    """With "required": the one function that has to be called; empty for any."""
    one_call: bool = False
    """True ends the answer with its first call of a tool."""
    answer_schema: str = ""
    """JSON Schema, as JSON, that the answer (not its thinking) has to obey; empty leaves it free."""
    sampling: Sampling = Sampling()
    truncate: bool = True
    """True drops the oldest messages, never the system ones nor the last; False answers ContextTooLong."""
    return_context: bool = False
    client: str = ""
    tenant: str = ""
    """Both as in CompletionRequest."""


class ImageRequest(Message, frozen=True):
    """Make pictures. 0 and None leave a choice to the model."""

    prompt: str
    negative_prompt: str = ""
    """What the pictures should not show; only where guidance is at work."""
    width: int = 0
    height: int = 0
    """In pixels; both 0 take the size of the first of `images`, else the model's own."""
    steps: int = 0
    guidance: float | None = None
    """How much more of the prompt than the model itself would give; what it means is the pipeline's own."""
    seed: int = -1
    """Negative draws a fresh one. Picture k (from 0 on) has the seed + k, and is the same one alone with that seed: to
    the last bit if a runner makes one at a time, else within 1 of 255."""
    count: int = 1
    images: tuple[bytes, ...] = ()
    """PNG, JPEG or WebP files to work from."""
    strength: float | None = None
    """Where a pipeline starts from a picture: the share of the steps that are made, above 0 and up to 1."""
    previews: int = 0
    """How many times, evenly over the steps, each picture is shown as it is so far; 0 to 3."""
    model: str = ""
    model_digest: str = ""
    """Both only for what a picture's file tells about itself."""
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
    """Turn texts into vectors."""

    inputs: tuple[str | tuple[int, ...], ...]
    """Texts, or the ids of their tokens as they stand; out-of-range ids are refused."""
    truncate: bool = True
    """True cuts a text that is too long at its end; False answers ContextTooLong."""
    dimensions: int | None = None
    """So many numbers of each vector, from its beginning; None is all of them."""
    normalise: bool = True
    """Whether vectors have length one; else they are as the model makes them."""


class RerankRequest(Message, frozen=True):
    """Tell how well each document answers a query."""

    query: str
    documents: tuple[str, ...]
    truncate: bool = True
    """True cuts a pair that is too long; False answers ContextTooLong."""


class ShrinkRequest(Message, frozen=True):
    """Give back memory that is kept only to be faster: spare buffers of the allocator, prefixes of earlier prompts."""

    keep_bytes: int = 0
    """So much may stay."""
