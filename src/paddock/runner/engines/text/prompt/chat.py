"""A conversation as the text and the tokens that the model was trained on. It touches no MLX."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jinja2
from mlx_lm.tokenizer_utils import TokenizerWrapper

from paddock.errors import BadRequest, ContextTooLong, Unsupported
from paddock.protocol import ChatMessage, ChatRequest
from paddock.runner.engines.text.answer.dialect import Dialect, offers_tools
from paddock.runner.engines.text.prompt.renderer import Renderer
from paddock.runner.engines.text.prompt.turns import Turn, turns_of
from paddock.vetting.abilities import is_harmony

logger = logging.getLogger(__name__)


class ChatTemplate:
    """How the conversations of one model are written down."""

    def __init__(self, tokenizer: TokenizerWrapper, renderer: Renderer, context_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._renderer = renderer
        self._context_tokens = context_tokens
        # A few architectures have a renderer in Python in place of a template: the library's own, not the model's.
        self._is_code = tokenizer.has_chat_template and not isinstance(tokenizer.chat_template, str | dict)
        self._is_code = self._is_code or tokenizer._chat_template is not None
        self.dialect = Dialect(tokenizer, None if self._is_code else self._default_template())

    def applies_to(self, request: ChatRequest) -> bool:
        """Whether a template writes this conversation, special tokens and all."""
        return request.template is not None or bool(self._tokenizer.has_chat_template)

    def template_of(self, request: ChatRequest) -> str | None:
        """The template's text: empty if there is none, None if code of the library renders. BadRequest."""
        if request.template is None and self._is_code:
            return None
        if not self.applies_to(request):
            return ""
        return request.template or self._own_template(list(request.tools) if offers_tools(request) else None)

    def render(self, request: ChatRequest, messages: Sequence[ChatMessage]) -> str:
        """The prompt of a conversation, up to where the answer begins. BadRequest if the template refuses it.

        A model without a template gets the contents with blank lines between them. Where the answer has to obey a
        grammar and the model thinks first, the prompt opens the thinking: then it is known where the answer begins.
        An answer that has begun already stands at the end of the prompt.
        """
        template = self.template_of(request)
        self.dialect.check(request, template)
        if template == "":
            return "\n\n".join([*(message.content for message in messages), *filter(None, [request.prefill])])
        if not messages:
            raise BadRequest("A conversation needs at least one message.")
        text = self._rendered(request, template, messages)
        start, end = self.dialect.thinking_marks(template)
        if request.prefill:
            return _begun(text, request.prefill, start, end, template)
        needs_grammar = request.answer_schema or request.tool_choice == "required"
        if start and needs_grammar and self.dialect.thinks(request, template):
            return text if text.rstrip().endswith((start, end)) else text + start
        return text

    def _rendered(self, request: ChatRequest, template: str | None, messages: Sequence[ChatMessage]) -> str:
        options = self._options(request, template)
        try:
            return self._written(template, turns_of(messages), options)
        except BadRequest:
            # Most templates want the arguments of earlier calls as they are, some as text.
            if not any(message.tool_calls for message in messages):
                raise
            with contextlib.suppress(BadRequest):
                return self._written(template, turns_of(messages, as_text=True), options)
            raise

    def _options(self, request: ChatRequest, template: str | None) -> dict[str, Any]:
        """What templates know beside the messages. `enable_thinking` and `thinking` are two names for one thing."""
        thinks = self.dialect.thinks(request, template)
        options: dict[str, Any] = {"add_generation_prompt": True, "enable_thinking": thinks}
        if offers_tools(request):
            options["tools"] = list(request.tools)
        if template is None:
            return options
        options["thinking"] = thinks
        if isinstance(request.think, str):
            options["reasoning_effort"] = request.think
        elif request.think is False and is_harmony(template):
            options["reasoning_effort"] = "low"  # these models cannot be told not to think, only to be brief
        return options

    def _written(self, template: str | None, turns: list[Turn], options: dict[str, Any]) -> str:
        if template is None:
            return self._by_code(turns, options)
        if is_harmony(template):
            turns = [_without_preamble(turn) for turn in turns]
        # What transformers gives to every template (its apply_chat_template), special tokens by name among it.
        variables = {
            **self._tokenizer.special_tokens_map,
            "messages": turns,
            "tools": None,
            "documents": None,
            **options,
        }
        return self._renderer.render(template, variables, self._context_tokens)

    def _default_template(self) -> str | None:
        try:
            return self._own_template() if self._tokenizer.has_chat_template else ""
        except BadRequest:
            return ""

    def _own_template(self, tools: list[dict[str, Any]] | None = None) -> str:
        """With several templates, some models have one for tools among them."""
        try:
            return str(self._tokenizer._tokenizer.get_chat_template(tools=tools))
        except ValueError:
            raise BadRequest("This model has several chat templates and none is the default: give one.") from None

    def _by_code(self, turns: list[Turn], options: dict[str, Any]) -> str:
        try:
            return str(self._tokenizer.apply_chat_template(turns, tokenize=False, **options))
        except (TypeError, ValueError, LookupError, AttributeError, AssertionError, jinja2.TemplateError) as error:
            logger.debug("the chat template failed", exc_info=error)
            raise BadRequest("The chat template failed on this conversation: check its roles and contents.") from None


def _begun(text: str, prefill: str, think_start: str, think_end: str, template: str | None) -> str:
    """A prompt after which the answer has begun. Where it opens the thinking, that is empty."""
    if template and is_harmony(template):
        raise Unsupported("This model writes its answers in channels: an answer cannot be begun for it.")
    if think_start and text.rstrip().endswith(think_start):
        text = f"{text.rstrip()}\n\n{think_end}\n\n"
    return text + prefill


def _without_preamble(turn: Turn) -> Turn:
    """What was thought before a call, without what was said: the template in channels takes only one of them."""
    return turn | {"content": ""} if turn.get("tool_calls") and turn.get("thinking") else turn


def fit(
    messages: Sequence[ChatMessage], tokenise: Callable[[Sequence[ChatMessage]], list[int]], limit: int, context: int
) -> list[int]:
    """Tokens of the conversation without as many of its oldest messages as it takes to stay within `limit`.

    System messages and the last message are never dropped; ContextTooLong (of a context of `context` tokens) if that
    is still too much. `tokenise` may refuse a shortened conversation (BadRequest): a shorter one is tried then.
    """
    tokens = tokenise(messages)
    if len(tokens) <= limit:
        return tokens
    droppable = [index for index, message in enumerate(messages[:-1]) if message.role != "system"]

    def attempt(count: int) -> tuple[int, list[int]]:
        """The first conversation with `count` or more messages dropped that the template accepts."""
        while True:
            gone = set(droppable[:count])
            try:
                return count, tokenise([message for index, message in enumerate(messages) if index not in gone])
            except BadRequest:
                if count >= len(droppable):
                    raise
                count += 1

    shortest = attempt(len(droppable))[1] if droppable else tokens
    if len(shortest) > limit:
        raise too_long(len(shortest), context)
    low, high, best = 1, len(droppable), shortest
    while low < high:
        middle = (low + high) // 2
        count, tokens = attempt(middle)
        if len(tokens) <= limit:
            high, best = middle, tokens
        else:
            low = count + 1
    return best


def too_long(tokens: int, context: int) -> ContextTooLong:
    """The error for an input that does not fit."""
    return ContextTooLong(
        f"The input has {tokens} tokens but the context holds only {context}: shorten it or raise num_ctx."
    )
