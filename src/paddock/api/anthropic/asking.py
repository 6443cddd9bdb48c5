"""What a body in Anthropic's dialect asks of its model, as one internal request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from paddock.api.anthropic.offers import offer_of
from paddock.api.anthropic.refusals import check_fields
from paddock.api.anthropic.schemas import ConversationBody, MessagesBody, OutputFormat
from paddock.api.anthropic.thinking import Thought, thought_of
from paddock.api.anthropic.turns import Conversation, conversation_of
from paddock.api.conversation import conversation
from paddock.errors import InvalidField, InvalidOption, Unsupported
from paddock.options import merge
from paddock.protocol import ChatRequest, Sampling
from paddock.scheduler.service import LoadWish
from paddock.store.library import StoredModel

_MAX_TOKENS = 2**31 - 1


def chat_request(body: ConversationBody, model: StoredModel) -> ChatRequest:
    """The conversation as the runner takes it, with nothing said of sampling. BadRequest and its family."""
    if "completion" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support messages: it is no model that talks.')
    check_fields(body)
    said = conversation_of(body.messages, body.system)
    offer = offer_of(body.tools, body.tool_choice, model)
    if said.has_calls and "tools" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support tools')
    thought = thought_of(body, model)
    schema = _schema_of(body)
    if schema and offer.tools and offer.choice != "none":
        raise Unsupported('"output_config.format" cannot be combined with tools: ask for one of the two.')
    _check_prefill(said, thought, is_held=bool(schema) or offer.choice == "required")
    return ChatRequest(
        messages=conversation(model, said.turns),
        template=model.template or None,
        think=thought.think,
        thinking_budget=thought.budget_tokens,
        prefill=said.prefill,
        tools=offer.tools,
        tool_choice=offer.choice,
        tool_choice_name=offer.name,
        one_call=offer.one_call,
        answer_schema=schema,
        truncate=False,
    )


def sampling_of(body: MessagesBody, model: StoredModel) -> tuple[Sampling, LoadWish]:
    """How tokens are chosen, over the model's own parameters, and how it is loaded. InvalidField."""
    if body.max_tokens is None:
        raise InvalidField('"max_tokens" is required: say how many tokens the answer may have.', "max_tokens")
    _check_range("max_tokens", body.max_tokens, 1, _MAX_TOKENS)
    _check_range("temperature", body.temperature, 0, 1)
    _check_range("top_p", body.top_p, 0, 1)
    _check_range("top_k", body.top_k, 0, _MAX_TOKENS)
    options = {
        "num_predict": body.max_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "stop": body.stop_sequences or None,
    }
    sampling, runner = _merged(model, {name: value for name, value in options.items() if value is not None})
    return sampling, LoadWish(**runner)


def load_wish_of(model: StoredModel) -> LoadWish:
    """How a model is loaded that is asked for nothing special."""
    return LoadWish(**merge(model.parameters, {})[1])


def _merged(model: StoredModel, options: Mapping[str, Any]) -> tuple[Sampling, dict[str, int]]:
    try:
        return merge(model.parameters, options)
    except InvalidOption as error:
        raise InvalidField(error.message.replace('option "stop"', '"stop_sequences"'), "stop_sequences") from None


def _check_range(name: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidField(f'"{name}" must be between {least} and {most}.', name)


def _schema_of(body: ConversationBody) -> str:
    configured = body.output_config.format if body.output_config else None
    if configured and body.output_format:
        raise InvalidField('"output_format" is the former name of "output_config.format": send one of the two.')
    wanted: OutputFormat | None = configured or body.output_format
    if wanted is None:
        return ""
    if wanted.type != "json_schema" or wanted.schema is None:
        raise InvalidField('The format of an answer must be of the type "json_schema" and have a "schema".')
    return msgspec.json.encode(wanted.schema).decode()


def _check_prefill(said: Conversation, thought: Thought, *, is_held: bool) -> None:
    if said.prefill and thought.may_think:
        raise Unsupported("An answer cannot be begun while thinking is on: end with a turn of the user.")
    if said.prefill and is_held:
        raise Unsupported("An answer that has to be a call or JSON cannot be begun: end with a turn of the user.")
