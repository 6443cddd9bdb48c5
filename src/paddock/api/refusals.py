"""Documented fields that cannot be honoured are refused here, before anything is loaded: never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from paddock.api.model_schemas import CreateBody
from paddock.api.schemas import ChatBody, GenerateBody, InferenceBody
from paddock.errors import BadRequest, Unsupported
from paddock.store.capabilities import with_template
from paddock.store.library import StoredModel

Think = bool | Literal["low", "medium", "high"] | None

_THINK_LEVELS: Mapping[str, Literal["low", "medium", "high"]] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "high",
}
ANY_OBJECT = '{"type":"object"}'


def check_generate(body: GenerateBody, model: StoredModel) -> None:
    """BadRequest where /api/generate asks for what this model cannot do."""
    if body.raw and (body.template or body.system or body.context):
        raise BadRequest("raw mode does not support template, system, or context")
    _check_inference(body, model, body.template)
    if body.suffix:
        _check_suffix(body, model)
    if body.images:
        raise Unsupported(f'"{model.name.display}" does not support image input')
    if body.width or body.height or body.steps or body.negative_prompt:
        raise Unsupported(f'"{model.name.display}" does not support image generation')


def check_chat(body: ChatBody, model: StoredModel) -> None:
    """BadRequest where /api/chat asks for what this model cannot do."""
    if model.facts.engine == "image":
        raise Unsupported(f'"{model.name.display}" does not support chat: it makes pictures, so ask /api/generate.')
    _check_inference(body, model)
    messages = body.messages or ()
    uses_tools = body.tools or any(message.tool_calls for message in messages)
    if uses_tools and "tools" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support tools')
    if any(message.images for message in messages):
        raise Unsupported(f'"{model.name.display}" does not support image input')


def check_completes(model: StoredModel, verb: str) -> None:
    """Unsupported for a model that makes no texts. It may be loaded and unloaded all the same."""
    if "completion" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support {verb}')


def check_create(body: CreateBody) -> None:
    """BadRequest where /api/create asks for what this version cannot make."""
    asked = {
        "renderer": body.renderer,
        "parser": body.parser,
        "requires": body.requires,
        "info": body.info,
        "remote_host": body.remote_host,
        "draft_files": body.draft_files,
        "draft_quantize": body.draft_quantize,
    }
    for field, value in asked.items():
        if value:
            raise Unsupported(f'"{field}" is not supported: remove it to create the model without.')
    if any(message.images or message.tool_calls for message in body.messages or ()):
        raise Unsupported("The messages of a model are words alone: remove pictures and calls from them.")


def think_of(body: InferenceBody, model: StoredModel, template: str | None = None) -> Think:
    """The `think` field as the runner takes it; BadRequest for nonsense, and for a model that cannot think.

    `template` is one that the request brings in place of the model's own.
    """
    value = body.think
    if isinstance(value, str):
        if value not in _THINK_LEVELS:
            raise BadRequest(f'invalid think value: "{value}" (must be "high", "medium", "low", true, or false)')
    elif not isinstance(value, bool | None):
        raise BadRequest('think must be a boolean or string ("high", "medium", "low", true, or false)')
    able = model.facts.capabilities
    if value and "thinking" not in (with_template(able, template) if template else able):
        raise Unsupported(f'"{model.name.display}" does not support thinking')
    return _THINK_LEVELS[value] if isinstance(value, str) else value


def schema_of(body: InferenceBody) -> str:
    """The `format` field as a JSON schema: "json" is any object, nothing leaves the answer free. BadRequest."""
    if body.format in (None, ""):
        return ""
    if body.format == "json":
        return ANY_OBJECT
    if not isinstance(body.format, dict):
        written = msgspec.json.encode(body.format).decode()[:80]
        raise BadRequest(f'invalid format: {written}; expected "json" or a valid JSON Schema object')
    return msgspec.json.encode(body.format).decode()


def _check_suffix(body: GenerateBody, model: StoredModel) -> None:
    if "insert" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support insert')
    if body.raw or body.template or body.system or body.context or body.think or body.debug_render_only:
        raise BadRequest(
            '"suffix" cannot be combined with raw, template, system, context, think or _debug_render_only: '
            "leave them out."
        )


def _check_inference(body: InferenceBody, model: StoredModel, template: str | None = None) -> None:
    think_of(body, model, template)
    schema_of(body)
    if body.top_logprobs is not None and not 0 <= body.top_logprobs <= 20:
        raise BadRequest("top_logprobs must be between 0 and 20")
    if body.top_logprobs and not body.logprobs:
        raise BadRequest('"top_logprobs" needs "logprobs" to be true.')
    if body.shift:
        raise Unsupported(
            '"shift" is not supported: an answer ends with done_reason "length" when the context is full.'
        )
