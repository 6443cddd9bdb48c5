"""A body of /v1/chat/completions as one internal request. Pure: what cannot be honoured is refused here."""

from __future__ import annotations

from collections.abc import Mapping

from paddock.api.conversation import conversation
from paddock.api.openai.chat_schemas import ChatCompletionBody
from paddock.api.openai.fields import (
    MAX_TOP_LOGPROBS,
    check_range,
    sampling_of,
    schema_of_format,
    think_of_effort,
)
from paddock.api.openai.tool_choice import Offer, offer_of
from paddock.api.openai.turns import messages_of
from paddock.api.refusals import Think
from paddock.errors import InvalidField, Unsupported
from paddock.protocol import ChatRequest
from paddock.scheduler.service import LoadWish
from paddock.store.library import StoredModel


def chat_request(
    body: ChatCompletionBody, model: StoredModel, client: str, tenant: str = ""
) -> tuple[ChatRequest, LoadWish]:
    """What the runner is asked, and what is asked of the runner. BadRequest."""
    _check(body, model)
    sampling, wish = sampling_of(
        model,
        _options(body),
        logit_bias=body.logit_bias,
        top_logprobs=_top_logprobs(body),
    )
    offer, schema = _offer(body, model), _schema(body)
    if schema and offer.choice == "required":
        raise InvalidField("An answer cannot both call a tool and obey a schema: demand one of the two.", "tool_choice")
    wanted = ChatRequest(
        messages=conversation(model, messages_of(body.messages, model)),
        template=model.template or None,
        think=_think(body, model),
        tools=offer.tools,
        tool_choice=offer.choice,
        tool_choice_name=offer.name,
        one_call=offer.one_call,
        answer_schema=schema,
        sampling=sampling,
        truncate=body.truncate is True,
        client=client,
        tenant=tenant,
    )
    return wanted, wish


def _check(body: ChatCompletionBody, model: StoredModel) -> None:
    if "completion" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support chat')
    if body.modalities and body.modalities != ["text"]:
        raise Unsupported(f'"{model.name.display}" does not support audio output')
    refused: Mapping[str, tuple[object, tuple[object, ...]]] = {
        "audio": (body.audio, ()),
        "web_search_options": (body.web_search_options, ()),
        "moderation": (body.moderation, ()),
        "verbosity": (body.verbosity, ("medium",)),
        "service_tier": (body.service_tier, ("auto", "default")),
        "store": (body.store, (False,)),
        "prompt_cache_options": (body.prompt_cache_options, ({}, {"mode": "implicit"})),
    }
    for name, (value, taken) in refused.items():
        if value is not None and value not in taken:
            raise InvalidField(f'"{name}" is not supported{_but_for(taken)}: leave it out.', name)


def _but_for(taken: tuple[object, ...]) -> str:
    words = [word for word in taken if isinstance(word, str)]
    return f", but for {' and '.join(words)}" if words else ""


def _options(body: ChatCompletionBody) -> dict[str, object]:
    if None not in (body.max_tokens, body.max_completion_tokens) and body.max_tokens != body.max_completion_tokens:
        raise InvalidField('"max_tokens" and "max_completion_tokens" differ: leave one of them out.', "max_tokens")
    return body.sampling_options(max_completion_tokens=body.max_completion_tokens)


def _top_logprobs(body: ChatCompletionBody) -> int | None:
    """How many likely tokens to tell at each place; None to tell nothing."""
    if body.top_logprobs is not None:
        check_range("top_logprobs", body.top_logprobs, 0, MAX_TOP_LOGPROBS)
    if body.top_logprobs and not body.logprobs:
        raise InvalidField('"top_logprobs" needs "logprobs" to be true.', "top_logprobs")
    return body.top_logprobs or 0 if body.logprobs else None


def _schema(body: ChatCompletionBody) -> str:
    wanted = body.response_format
    if wanted is None:
        return ""
    if wanted.type == "json_object" and wanted.schema is not None:
        return schema_of_format("json_schema", wanted.schema)
    return schema_of_format(wanted.type, wanted.json_schema.schema if wanted.json_schema else None)


def _offer(body: ChatCompletionBody, model: StoredModel) -> Offer:
    if body.functions is None and body.function_call is None:
        return offer_of(body.tools, body.tool_choice, one_call=body.parallel_tool_calls is False, model=model)
    if body.tools is not None or body.tool_choice is not None:
        raise InvalidField('"functions" are the former "tools": leave one of the two out.', "functions")
    tools = [{"type": "function", "function": function} for function in body.functions or ()]
    wanted = body.function_call
    choice = {"type": "function", **wanted} if isinstance(wanted, Mapping) else wanted
    return offer_of(tools, choice, one_call=True, model=model, field="function_call")


def _think(body: ChatCompletionBody, model: StoredModel) -> Think:
    if body.reasoning_effort is not None:
        return think_of_effort(body.reasoning_effort, model)
    if body.reasoning is not None and body.reasoning.effort is not None:
        return think_of_effort(body.reasoning.effort, model, "reasoning.effort")
    return _think_of_template(body.chat_template_kwargs or {}, model)


def _think_of_template(words: Mapping[str, object], model: StoredModel) -> Think:
    """What is asked through the words of chat templates."""
    field = "chat_template_kwargs"
    for name, value in words.items():
        if name not in ("enable_thinking", "thinking") or not isinstance(value, bool):
            raise InvalidField(f'"{field}" may only hold enable_thinking or thinking, true or false.', field)
    if any(words.values()) and "thinking" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support thinking')
    return any(words.values()) if words else None
