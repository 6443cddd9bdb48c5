"""Documented fields that cannot be honoured are refused here, before anything is loaded: never ignored."""

from __future__ import annotations

from paddock.api.schemas import ChatBody, CreateBody, GenerateBody, InferenceBody
from paddock.errors import BadRequest, Unsupported
from paddock.store.library import StoredModel

_THINK_LEVELS = ("high", "medium", "low", "max")


def check_generate(body: GenerateBody, model: StoredModel) -> None:
    """BadRequest where /api/generate asks for what this model cannot do."""
    if body.raw and (body.template or body.system or body.context):
        raise BadRequest("raw mode does not support template, system, or context")
    _check_inference(body, model, "generate")
    if body.suffix:
        raise Unsupported(f'"{model.name.display}" does not support insert')
    if body.images:
        raise Unsupported(f'"{model.name.display}" does not support image input')
    if body.width or body.height or body.steps:
        raise Unsupported(f'"{model.name.display}" does not support image generation')


def check_chat(body: ChatBody, model: StoredModel) -> None:
    """BadRequest where /api/chat asks for what this model cannot do."""
    _check_inference(body, model, "chat")
    if body.tools:
        raise Unsupported(f'"{model.name.display}" does not support tools')
    for message in body.messages or ():
        if message.images:
            raise Unsupported(f'"{model.name.display}" does not support image input')
        if message.tool_calls:
            raise Unsupported(f'"{model.name.display}" does not support tools')


def check_create(body: CreateBody) -> None:
    """BadRequest where /api/create asks for what this version cannot make."""
    asked = {
        "adapters": body.adapters,
        "quantize": body.quantize or body.quantization,
        "renderer": body.renderer,
        "parser": body.parser,
        "requires": body.requires,
        "info": body.info,
        "remote_host": body.remote_host,
        "draft_files": body.draft_files or body.draft_quantize,
    }
    for field, value in asked.items():
        if value:
            raise Unsupported(f'"{field}" is not supported: remove it to create the model without.')


def think_of(value: object, model: StoredModel) -> bool | None:
    """The `think` field as the runner takes it; BadRequest for nonsense, and for a model that cannot think."""
    if value is None or isinstance(value, bool):
        wanted = value
    elif isinstance(value, str):
        if value not in _THINK_LEVELS:
            raise BadRequest(f'invalid think value: "{value}" (must be "high", "medium", "low", true, or false)')
        wanted = True
    else:
        raise BadRequest('think must be a boolean or string ("high", "medium", "low", true, or false)')
    if wanted and "thinking" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support thinking')
    return wanted


def _check_inference(body: InferenceBody, model: StoredModel, verb: str) -> None:
    if body.top_logprobs is not None and not 0 <= body.top_logprobs <= 20:
        raise BadRequest("top_logprobs must be between 0 and 20")
    if "completion" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support {verb}')
    if body.logprobs or body.top_logprobs:
        raise Unsupported('"logprobs" is not supported: remove it to get the text alone.')
    if body.format not in (None, ""):
        raise Unsupported('"format" is not supported: remove it and ask for the format in the prompt.')
    if body.shift:
        raise Unsupported(
            '"shift" is not supported: an answer ends with done_reason "length" when the context is full.'
        )
