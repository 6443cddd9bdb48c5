"""The half of the text engine that makes requests ready: rendered, tokenised, checked. It runs beside the thread that
owns MLX and touches none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from paddock.errors import BadRequest, DamagedModel, Unsupported
from paddock.protocol import ChatMessage, ChatRequest, CompletionRequest, Sampling, TokenizeRequest
from paddock.runner.engines.base import Constraint, Prompt
from paddock.runner.engines.text.answer.dialect import offers_tools
from paddock.runner.engines.text.answer.style import AnswerStyle
from paddock.runner.engines.text.answer.thinking_limit import ThinkingLimit, closing_of
from paddock.runner.engines.text.grammar.constraint import Constraints
from paddock.runner.engines.text.grammar.tool_grammar import style_of_calls
from paddock.runner.engines.text.model.loading import LoadedModel
from paddock.runner.engines.text.prompt import chat
from paddock.runner.engines.text.prompt.encoding import Encoding
from paddock.runner.engines.text.prompt.infill import Infill
from paddock.runner.engines.text.prompt.renderer import Renderer
from paddock.runner.engines.text.sampling import options as sampling
from paddock.runner.watch import Watch

_PROMPT_END_TOKENS = 16
"""Enough to see in the end of a prompt whether it opens the thinking."""


class Preparation:
    """Makes the requests of one loaded model ready."""

    def __init__(self, loaded: LoadedModel, renderer: Renderer, watch: Watch, context_length: int) -> None:
        self._loaded = loaded
        self._encoding = Encoding(loaded.tokenizer, watch)
        self._template = chat.ChatTemplate(loaded.tokenizer, renderer, context_length)
        self._infill = Infill(loaded.tokenizer)
        self._constraints = Constraints(loaded.tokenizer, loaded.vocabulary, loaded.end_tokens, watch)
        self._context_length = context_length

    def prepare(self, request: CompletionRequest | ChatRequest) -> Prompt:
        """As `Engine.prepare`; so are the next four."""
        sampling.check(request.sampling, self._loaded.vocabulary)
        self._check_ids("context", request.context)
        tokens = self._tokens_of(request)
        if not tokens:
            raise BadRequest("The prompt is empty: it has no tokens to continue.")
        if max(tokens) >= self._loaded.vocabulary:
            raise DamagedModel("The model's tokenizer has tokens that its weights do not know: create the model again.")
        style = self._style_of(request, tokens)
        return Prompt(
            tokens=tuple(tokens),
            sampling=self._sampling_of(request),
            return_context=request.return_context,
            continues_text=isinstance(request, CompletionRequest) or bool(request.prefill),
            style=style,
            constraint=self._constraint_of(request, style),
            thinking_limit=self._thinking_limit_of(request, style),
            tells_prompt=isinstance(request, ChatRequest) and request.tells_prompt,
            client=request.client,
            tenant=request.tenant,
        )

    def render(self, request: ChatRequest) -> str:
        return self._template.render(request, request.messages)

    def count(self, request: ChatRequest) -> int:
        self._check_ids("context", request.context)
        return len(request.context) + len(self._encode_conversation(request, request.messages))

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

    def _sampling_of(self, request: CompletionRequest | ChatRequest) -> Sampling:
        """What fills a gap has ends of its own."""
        if isinstance(request, ChatRequest) or not request.suffix:
            return request.sampling
        return msgspec.structs.replace(request.sampling, stop=(*request.sampling.stop, *self._infill.stops))

    def _style_of(self, request: CompletionRequest | ChatRequest, tokens: Sequence[int]) -> AnswerStyle:
        dialect = self._template.dialect
        if isinstance(request, CompletionRequest):
            return dialect.plain()
        end = self.decode(tokens[-_PROMPT_END_TOKENS:])
        return dialect.style(request, self._template.template_of(request), end)

    def _thinking_limit_of(self, request: CompletionRequest | ChatRequest, style: AnswerStyle) -> ThinkingLimit | None:
        if not isinstance(request, ChatRequest) or request.thinking_budget <= 0 or not closing_of(style):
            return None
        return ThinkingLimit(request.thinking_budget, self._encode(closing_of(style), special=False))

    def _constraint_of(self, request: CompletionRequest | ChatRequest, style: AnswerStyle) -> Constraint | None:
        demands_call = isinstance(request, ChatRequest) and request.tool_choice == "required"
        if demands_call and request.answer_schema:
            raise BadRequest("An answer cannot both call a tool and obey a schema: demand one of the two.")
        if isinstance(request, ChatRequest) and (demands_call or (request.answer_schema and offers_tools(request))):
            return self._constraint_to_calls(request, style)
        if isinstance(request, ChatRequest) and offers_tools(request):
            return self._constraint_of_calls(request, style)
        return self._constraints.compile(request.answer_schema) if request.answer_schema else None

    def _constraint_of_calls(self, request: ChatRequest, style: AnswerStyle) -> Constraint | None:
        """What holds the calls that the model may make to tools that are strict, where its calls have a grammar."""
        calls = style_of_calls(style.tool_syntax)
        if calls is None or style.tool_syntax is None:
            return None
        return self._constraints.for_strict_calls(request.tools, calls, style.tool_syntax.start)

    def _constraint_to_calls(self, request: ChatRequest, style: AnswerStyle) -> Constraint | None:
        calls = style_of_calls(style.tool_syntax)
        if calls is None and request.answer_schema:
            raise Unsupported("This model cannot obey a schema where tools are offered: leave one of the two out.")
        if calls is None:
            raise Unsupported("This model's calls of tools cannot be demanded: use tool_choice auto.")
        if request.one_call or request.tool_choice_name:
            calls = replace(calls, may_repeat=False)
        if request.answer_schema:
            return self._constraints.for_tools_or_schema(request.tools, calls, request.answer_schema)
        return self._constraints.for_tools(request.tools, request.tool_choice, request.tool_choice_name, calls)

    def _completion(self, request: CompletionRequest) -> list[int]:
        if request.suffix:
            return self._gap(request)
        tokens = [*request.context, *self._encode(request.prompt, special=not request.context)]
        limit = self._context_length - 1
        if len(tokens) <= limit:
            return tokens
        if not request.truncate:
            raise chat.too_long(len(tokens), self._context_length)
        kept = min(max(request.sampling.num_keep, 0), limit - 1)
        return tokens[:kept] + tokens[len(tokens) - (limit - kept) :]

    def _gap(self, request: CompletionRequest) -> list[int]:
        """A text with a gap; of too long a one, the nearest end of what is ahead of the gap."""

        def head(text: str) -> list[int]:
            return self._encode(text, special=True)

        def encode(text: str) -> list[int]:
            return self._encode(text, special=False)

        start, ahead, end = self._infill.parts(request.prompt, request.suffix, head, encode)
        room = self._context_length - 1 - len(start) - len(end)
        if room < 0 or (len(ahead) > room and not request.truncate):
            raise chat.too_long(len(start) + len(ahead) + len(end), self._context_length)
        return [*start, *ahead[max(0, len(ahead) - room) :], *end]

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
