"""A conversation as the text and the tokens that the model was trained on. It touches no MLX."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import jinja2
from mlx_lm.tokenizer_utils import TokenizerWrapper

from paddock.errors import BadRequest, ContextTooLong
from paddock.protocol import ChatMessage, ChatRequest
from paddock.runner.engines.text.renderer import Renderer

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

    def applies_to(self, request: ChatRequest) -> bool:
        """Whether a template writes this conversation, special tokens and all."""
        return request.template is not None or bool(self._tokenizer.has_chat_template)

    def render(self, request: ChatRequest, messages: Sequence[ChatMessage]) -> str:
        """The prompt of a conversation, up to where the answer begins. BadRequest if the template refuses it.

        A model without a template gets the contents with blank lines between them.
        """
        if not self.applies_to(request):
            return "\n\n".join(message.content for message in messages)
        if not messages:
            raise BadRequest("A conversation needs at least one message.")
        turns = [{"role": message.role, "content": message.content} for message in messages]
        # Thinking that was not asked for would come as part of the answer, so models that would are told not to.
        options = {"add_generation_prompt": True, "enable_thinking": bool(request.think)}
        if request.template is None and self._is_code:
            return self._by_code(turns, options)
        # What transformers gives to every template (its apply_chat_template), special tokens by name among it.
        variables = {
            **self._tokenizer.special_tokens_map,
            "messages": turns,
            "tools": None,
            "documents": None,
            **options,
        }
        return self._renderer.render(request.template or self._own_template(), variables, self._context_tokens)

    def _own_template(self) -> str:
        try:
            return str(self._tokenizer._tokenizer.get_chat_template())
        except ValueError:
            raise BadRequest("This model has several chat templates and none is the default: give one.") from None

    def _by_code(self, turns: list[dict[str, str]], options: dict[str, Any]) -> str:
        try:
            return str(self._tokenizer.apply_chat_template(turns, tokenize=False, **options))
        except (TypeError, ValueError, LookupError, AttributeError, jinja2.TemplateError) as error:
            logger.debug("the chat template failed", exc_info=error)
            raise BadRequest("The chat template failed on this conversation: check its roles and contents.") from None


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
