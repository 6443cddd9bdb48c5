"""Which fields of a body can be honoured; the others are refused here, before anything is loaded. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddock.api.openai.responses.schemas import ReasoningWish, ResponseBody, TextWish, Tool
from paddock.errors import InvalidField, Unsupported
from paddock.store.library import StoredModel

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
_KNOWN_INCLUDES = frozenset(
    {
        LOGPROBS,
        ENCRYPTED,
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)
"""The last six tell more about items that no response here has."""

MAX_PAIRS = 16
MAX_KEY_CHARACTERS = 64
MAX_VALUE_CHARACTERS = 512
_MAX_ID_CHARACTERS = 1024

_REFUSED: Mapping[str, str] = {
    "conversation": "conversations are not kept here: use previous_response_id.",
    "prompt": "prompts are not kept here: send the input itself.",
    "background": "a response is answered while its request waits: leave it out, or stream.",
    "background_options": "a response is answered while its request waits: leave it out.",
    "context_management": 'conversations are not compacted here: leave it out, or set "truncation" to auto.',
    "moderation": "nothing here moderates: leave it out.",
    "access_programs": "there are none here: leave it out.",
    "image": "no model here looks at pictures in a conversation: leave it out.",
}
_VALUES: Mapping[str, tuple[str, ...]] = {
    "service_tier": ("auto", "default"),
    "truncation": ("auto", "disabled"),
    "prompt_cache_retention": ("in_memory", "in-memory", "24h"),
}


def check_body(body: ResponseBody, model: StoredModel) -> None:
    """InvalidField or Unsupported for the first field that cannot be honoured."""
    if "completion" not in model.facts.capabilities or model.facts.engine == "image":
        raise Unsupported(f'"{model.name.display}" does not support responses: it does not answer in words.')
    for name, reason in _REFUSED.items():
        if getattr(body, name) not in (None, False, []):
            raise InvalidField(f'"{name}" is not supported: {reason}', name)
    for name, values in _VALUES.items():
        check_value(name, getattr(body, name), values)
    check_include(body.include)
    _check_cache_options(body.prompt_cache_options)
    _check_reasoning(body.reasoning or ReasoningWish())
    _check_text(body.text or TextWish())
    _check_metadata(body.metadata or {})
    if body.stream_options is not None and not body.stream:
        raise InvalidField('"stream_options" needs "stream" to be true.', "stream_options")
    if body.max_tool_calls is not None and body.max_tool_calls < 1:
        raise InvalidField('"max_tool_calls" must be at least 1.', "max_tool_calls")
    if not 0 <= (body.top_logprobs or 0) <= 20:
        raise InvalidField('"top_logprobs" must be between 0 and 20.', "top_logprobs")


def check_value(name: str, value: str | None, values: Sequence[str]) -> None:
    """InvalidField unless the value is absent or one of these."""
    if value is not None and value not in values:
        raise InvalidField(f'"{name}" must be {" or ".join(values)} here.', name)


def check_include(include: Sequence[str] | None) -> None:
    """InvalidField for what nobody knows."""
    for value in include or ():
        if value not in _KNOWN_INCLUDES:
            known = ", ".join(sorted(_KNOWN_INCLUDES))
            raise InvalidField(f'"include" holds what is not known; it may hold {known}.', "include")


def summary_of(wish: ReasoningWish) -> str | None:
    """Which summary of the thinking is asked for, under either name."""
    return wish.summary or wish.generate_summary


def chat_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]]:
    """The tools in the form that chat completions have. Unsupported for what is no plain function."""
    return [_chat_tool(tool, f"tools[{place}]") for place, tool in enumerate(tools or ())]


def _chat_tool(tool: Tool, where: str) -> dict[str, Any]:
    if tool.type != "function":
        kind = "".join(character for character in tool.type[:64] if character.isprintable())
        raise Unsupported(f'"{where}" is of the type "{kind}", which is not supported: offer functions.')
    if tool.defer_loading or tool.async_:
        raise Unsupported(f'"{where}" has "defer_loading" or "async", which are not supported: leave them out.')
    if tool.allowed_callers not in (None, [], ["direct"]):
        raise Unsupported(f'The "allowed_callers" of "{where}" can be nothing but ["direct"] here.')
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict or None,
    }
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def _check_cache_options(options: Mapping[str, object] | None) -> None:
    asked = {name: value for name, value in (options or {}).items() if value not in (None, False)}
    if asked not in ({}, {"mode": "implicit"}):
        raise InvalidField('"prompt_cache_options" can ask for nothing but the mode implicit.', "prompt_cache_options")


def _check_reasoning(wish: ReasoningWish) -> None:
    check_value("reasoning.summary", wish.summary, ("auto", "detailed"))
    check_value("reasoning.generate_summary", wish.generate_summary, ("auto", "detailed"))
    check_value("reasoning.context", wish.context, ("auto",))
    check_value("reasoning.mode", wish.mode, ("standard",))


def _check_text(wish: TextWish) -> None:
    check_value("text.verbosity", wish.verbosity, ("medium",))
    given = wish.format
    if given is not None and given.type == "json_schema" and given.schema is None:
        raise InvalidField('"text.format" of the type json_schema must have a schema.', "text.format.schema")


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > MAX_PAIRS:
        raise InvalidField(f'"metadata" may hold at most {MAX_PAIRS} pairs.', "metadata")
    for key, value in metadata.items():
        if len(key) > MAX_KEY_CHARACTERS or len(value) > MAX_VALUE_CHARACTERS:
            raise InvalidField(
                f'The keys of "metadata" may have {MAX_KEY_CHARACTERS} characters, its values {MAX_VALUE_CHARACTERS}.',
                "metadata",
            )
