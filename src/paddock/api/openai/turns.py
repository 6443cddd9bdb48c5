"""The turns of a conversation as OpenAI's clients write them become ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddock.api.openai.call_arguments import object_of
from paddock.api.openai.chat_schemas import CalledFunction, ChatTurn, ContentPart, TurnCall
from paddock.api.schemas import WireCall, WireFunction
from paddock.api.tools import called_tools
from paddock.errors import InvalidField, Unsupported
from paddock.protocol import ChatMessage
from paddock.store.library import StoredModel

_ROLES: Mapping[str, str] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_MEDIA: Mapping[str, str] = {"image_url": "image", "input_audio": "audio", "file": "file"}


def messages_of(turns: Sequence[ChatTurn] | None, model: StoredModel) -> tuple[ChatMessage, ...]:
    """The conversation. InvalidField for what is no turn; Unsupported for what the model cannot read."""
    if not turns:
        raise InvalidField('"messages" must hold at least one message.', "messages")
    found = tuple(_message(turn, f"messages[{place}]", model) for place, turn in enumerate(turns))
    if any(message.tool_calls for message in found) and "tools" not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support tools')
    return found


def _message(turn: ChatTurn, field: str, model: StoredModel) -> ChatMessage:
    role = _ROLES.get(turn.role)
    if role is None:
        raise InvalidField(f'The role of "{field}" must be one of {", ".join(_ROLES)}.', field)
    if turn.audio is not None:
        raise Unsupported(f'"{model.name.display}" does not support audio output')
    return ChatMessage(
        role=role,
        content=_text(turn.content, field, model) or turn.refusal or "",
        thinking=turn.reasoning or turn.reasoning_content or "",
        tool_calls=called_tools([_wire(call, field) for call in _calls(turn)]),
        tool_name=turn.name or "" if role == "tool" else "",
        tool_call_id=turn.tool_call_id or "",
    )


def _text(content: str | list[ContentPart] | None, field: str, model: StoredModel) -> str:
    """What a message says. Its parts stay one message, each on lines of its own."""
    if isinstance(content, list):
        return "\n".join(_part(part, f"{field}.content[{place}]", model) for place, part in enumerate(content))
    return content or ""


def _part(part: ContentPart, field: str, model: StoredModel) -> str:
    if part.type in _MEDIA:
        raise Unsupported(f'"{model.name.display}" does not support {_MEDIA[part.type]} input')
    text = {"text": part.text, "refusal": part.refusal}.get(part.type)
    if text is None:
        raise InvalidField(f'"{field}" must be of the type text, and have a text.', field)
    return text


def _calls(turn: ChatTurn) -> list[TurnCall]:
    """The calls of a turn; the single one of former times has no id."""
    former = [TurnCall(function=turn.function_call)] if turn.function_call else []
    return [*(turn.tool_calls or ()), *former]


def _wire(call: TurnCall, field: str) -> WireCall:
    if call.type != "function" or call.function is None:
        raise InvalidField(f'Each tool call of "{field}" must be of the type function, and have one.', field)
    arguments = _arguments(call.function, field)
    return WireCall(id=call.id, function=WireFunction(name=call.function.name, arguments=arguments))


def _arguments(function: CalledFunction, field: str) -> dict[str, Any]:
    """What a call was made with: an object of JSON, where nothing at all stands for none."""
    if not isinstance(function.arguments, str):
        return function.arguments or {}
    return object_of(function.arguments.strip() or "{}", field)
