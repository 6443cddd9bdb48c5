"""A body as one request to a model, and as the response that tells how it was taken. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from paddock.api.conversation import conversation
from paddock.api.openai.fields import given, sampling_of, sampling_options, schema_of_format, think_of_effort
from paddock.api.openai.responses.answers import (
    ResponseAnswer,
    ToldFormat,
    ToldReasoning,
    ToldText,
    ToldTool,
)
from paddock.api.openai.responses.checks import ENCRYPTED, LOGPROBS, chat_tools, check_body, summary_of
from paddock.api.openai.responses.inputs import items_of
from paddock.api.openai.responses.items import FunctionCall, Item, NewId
from paddock.api.openai.responses.schemas import ReasoningWish, ResponseBody, TextFormat, TextWish, Tool
from paddock.api.openai.responses.turns import turns_of
from paddock.api.openai.tool_choice import Offer, offer_of
from paddock.errors import InvalidField, Unsupported
from paddock.protocol import ChatRequest, Sampling
from paddock.scheduler.service import LoadWish
from paddock.store.library import StoredModel


@dataclass(frozen=True)
class Order:
    """One request: everything that could be refused has been."""

    wanted: ChatRequest
    wish: LoadWish
    items: tuple[Item, ...]
    """The whole conversation that is answered, without instructions."""
    response: ResponseAnswer
    """As it stands before anything is said."""
    summarises: bool
    encrypts: bool


@dataclass(frozen=True)
class Origin:
    """Who asks, since when, and what of earlier responses is kept."""

    client: str
    tenant: str
    created_at: int
    """Seconds since 1970."""
    history: Sequence[Item] = ()
    """The conversation up to `previous_response_id`."""
    referred: Mapping[str, Item] | None = None
    """Kept items that the input refers to, by their ids."""


def order_of(body: ResponseBody, model: StoredModel, origin: Origin, new_id: NewId) -> Order:
    """BadRequest and its family for what cannot be honoured."""
    check_body(body, model)
    if not body.input and body.input != "" and not body.previous_response_id:
        raise InvalidField('"input" is required, or "previous_response_id".', "input")
    items = (*origin.history, *items_of(body.input, origin.referred or {}, new_id))
    if any(isinstance(item, FunctionCall) for item in items) and "tools" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support tools')
    offer = offer_of(chat_tools(body.tools), body.tool_choice, one_call=body.parallel_tool_calls is False, model=model)
    sampling, wish = _sampling(body, model)
    wanted = _request(body, model, offer, sampling, items, origin)
    include = body.include or ()
    return Order(
        wanted=wanted,
        wish=wish,
        items=items,
        response=_response(body, sampling, origin.created_at, new_id),
        summarises=summary_of(body.reasoning or ReasoningWish()) is not None,
        encrypts=ENCRYPTED in include,
    )


def _sampling(body: ResponseBody, model: StoredModel) -> tuple[Sampling, LoadWish]:
    asked = given(
        temperature=body.temperature, top_p=body.top_p, max_output_tokens=body.max_output_tokens, seed=body.seed
    )
    options = {**(body.options or {}), **sampling_options(asked)}
    tells_logprobs = body.top_logprobs or LOGPROBS in (body.include or ())
    return sampling_of(model, options, top_logprobs=body.top_logprobs or 0 if tells_logprobs else None)


def _request(
    body: ResponseBody,
    model: StoredModel,
    offer: Offer,
    sampling: Sampling,
    items: Collection[Item],
    origin: Origin,
) -> ChatRequest:
    wanted_format = _format(body)
    return ChatRequest(
        messages=conversation(model, turns_of(body.instructions, tuple(items))),
        template=model.template or None,
        think=think_of_effort((body.reasoning or ReasoningWish()).effort, model, "reasoning.effort"),
        tools=offer.tools,
        tool_choice=offer.choice,
        tool_choice_name=offer.name,
        one_call=offer.one_call,
        answer_schema=schema_of_format(wanted_format.type, wanted_format.schema, "text.format"),
        sampling=sampling,
        truncate=body.truncation == "auto",
        client=origin.client,
        tenant=origin.tenant,
    )


def _format(body: ResponseBody) -> TextFormat:
    return (body.text or TextWish()).format or TextFormat(type="text")


def _response(body: ResponseBody, sampling: Sampling, created_at: int, new_id: NewId) -> ResponseAnswer:
    reasoning = body.reasoning or ReasoningWish()
    return ResponseAnswer(
        id=new_id("resp_"),
        created_at=created_at,
        model=body.model or "",
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        metadata=body.metadata or {},
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        prompt_cache_key=body.prompt_cache_key,
        reasoning=ToldReasoning(effort=reasoning.effort, summary=summary_of(reasoning)),
        safety_identifier=body.safety_identifier,
        store=body.store is not False,
        temperature=sampling.temperature,
        text=ToldText(format=_told_format(_format(body))),
        tool_choice="auto" if body.tool_choice is None else body.tool_choice,
        tools=tuple(map(_told_tool, body.tools or ())),
        top_logprobs=sampling.top_logprobs,
        top_p=sampling.top_p,
        truncation=body.truncation or "disabled",
        user=body.user,
    )


def _told_format(wanted: TextFormat) -> ToldFormat:
    if wanted.type != "json_schema":
        return ToldFormat(type=wanted.type)
    return ToldFormat(
        type=wanted.type,
        name=wanted.name or "",
        description=wanted.description,
        schema=wanted.schema,
        strict=wanted.strict is not False,
    )


def _told_tool(tool: Tool) -> ToldTool:
    return ToldTool(
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        strict=tool.strict is not False,
    )
