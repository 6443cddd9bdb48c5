"""The half of the text engine that makes requests ready: rendered, tokenised, checked. It runs beside the thread that
owns MLX and touches none of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from paddock.errors import BadRequest, DamagedModel
from paddock.protocol import ChatMessage, ChatRequest, CompletionRequest, TokenizeRequest
from paddock.runner.engines.base import Prompt
from paddock.runner.engines.text import chat, sampling
from paddock.runner.engines.text.encoding import Encoding
from paddock.runner.engines.text.loading import LoadedModel
from paddock.runner.engines.text.renderer import Renderer
from paddock.runner.watch import Watch


class Preparation:
    """Makes the requests of one loaded model ready."""

    def __init__(self, loaded: LoadedModel, renderer: Renderer, watch: Watch, context_length: int) -> None:
        self._loaded = loaded
        self._encoding = Encoding(loaded.tokenizer, watch)
        self._template = chat.ChatTemplate(loaded.tokenizer, renderer, context_length)
        self._context_length = context_length

    def prepare(self, request: CompletionRequest | ChatRequest) -> Prompt:
        """As `Engine.prepare`; so are the next three."""
        sampling.check(request.sampling)
        self._check_ids("context", request.context)
        tokens = self._tokens_of(request)
        if not tokens:
            raise BadRequest("The prompt is empty: it has no tokens to continue.")
        if max(tokens) >= self._loaded.vocabulary:
            raise DamagedModel("The model's tokenizer has tokens that its weights do not know: create the model again.")
        return Prompt(
            tokens=tuple(tokens),
            sampling=request.sampling,
            return_context=request.return_context,
            continues_text=isinstance(request, CompletionRequest),
            client=request.client,
            tenant=request.tenant,
        )

    def render(self, request: ChatRequest) -> str:
        return self._template.render(request, request.messages)

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        return self._encode(request.text, special=request.add_special_tokens)

    def detokenize(self, tokens: Sequence[int]) -> str:
        self._check_ids("tokens", tokens)
        return self.decode(tokens)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ids that are the model's own. Any thread may call it."""
        return self._encoding.decode(tokens)

    def _tokens_of(self, request: CompletionRequest | ChatRequest) -> list[int]:
        if isinstance(request, ChatRequest):
            return self._conversation(request)
        return self._completion(request)

    def _completion(self, request: CompletionRequest) -> list[int]:
        tokens = [*request.context, *self._encode(request.prompt, special=not request.context)]
        limit = self._context_length - 1
        if len(tokens) <= limit:
            return tokens
        if not request.truncate:
            raise chat.too_long(len(tokens), self._context_length)
        kept = min(max(request.sampling.num_keep, 0), limit - 1)
        return tokens[:kept] + tokens[len(tokens) - (limit - kept) :]

    def _conversation(self, request: ChatRequest) -> list[int]:
        def tokenise(messages: Sequence[ChatMessage]) -> list[int]:
            return [*request.context, *self._encode_conversation(request, messages)]

        limit = self._context_length - 1
        if request.truncate:
            return chat.fit(request.messages, tokenise, limit, self._context_length)
        tokens = tokenise(request.messages)
        if len(tokens) > limit:
            raise chat.too_long(len(tokens), self._context_length)
        return tokens

    def _encode_conversation(self, request: ChatRequest, messages: Sequence[ChatMessage]) -> list[int]:
        """Tokens of a rendered conversation. A template writes its own special tokens; without one they are added."""
        special = not self._template.applies_to(request) and not request.context
        tokens = self._encode(self._template.render(request, messages), special=special)
        if request.context and tokens[:1] == [self._loaded.tokenizer.bos_token_id]:
            return tokens[1:]
        return tokens

    def _encode(self, text: str, *, special: bool) -> list[int]:
        return self._encoding.encode(text, special=special)

    def _check_ids(self, field: str, tokens: Sequence[int]) -> None:
        """An id outside of the embedding would make MLX read memory that is not the model's."""
        known = self._loaded.vocabulary
        for token in tokens:
            if not 0 <= token < known:
                raise BadRequest(f"{field} holds token id {token}, but this model's vocabulary has {known} tokens.")
