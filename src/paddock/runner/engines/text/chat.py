"""A conversation as the text and the tokens that the model was trained on. It touches no MLX."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import jinja2
from mlx_lm.tokenizer_utils import TokenizerWrapper

from paddock.errors import BadRequest, ContextTooLong
from paddock.protocol import ChatMessage, ChatRequest

logger = logging.getLogger(__name__)


def render(tokenizer: TokenizerWrapper, request: ChatRequest, messages: Sequence[ChatMessage]) -> str:
    """The prompt of a conversation, up to where the answer begins. BadRequest if the template refuses it.

    A model without a template gets the contents with blank lines between them.
    """
    if request.template is None and not tokenizer.has_chat_template:
        return "\n\n".join(message.content for message in messages)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    options: dict[str, Any] = {"add_generation_prompt": True, "tokenize": False}
    # Thinking that was not asked for would come as part of the answer, so models that think by default are told not to.
    options["enable_thinking"] = bool(request.think)
    try:
        if request.template is None:
            return str(tokenizer.apply_chat_template(turns, **options))
        own = tokenizer._tokenizer  # the wrapper may have a renderer in Python that knows no other template
        return str(own.apply_chat_template(turns, chat_template=request.template, **options))
    except jinja2.TemplateError as error:
        raise BadRequest(f"The chat template refused this conversation: {_one_line(error)}.") from None
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError, ArithmeticError) as error:
        logger.debug("the chat template failed", exc_info=error)
        raise BadRequest("The chat template failed on this conversation: check its roles and contents.") from None


def _one_line(error: jinja2.TemplateError) -> str:
    return " ".join((error.message or type(error).__name__).split()).rstrip(".")


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
