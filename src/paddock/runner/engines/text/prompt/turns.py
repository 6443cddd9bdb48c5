"""The messages of a conversation in the form that chat templates expect: OpenAI's, with their names for thinking."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from paddock.protocol import CalledTool, ChatMessage

Turn = dict[str, Any]


def turns_of(messages: Sequence[ChatMessage], *, as_text: bool = False) -> list[Turn]:
    """One turn for each message. `as_text` writes the arguments of calls as JSON, which a few templates rely on.

    Some templates demand that calls and their answers have ids, and that these are nine letters or digits. Clients that
    know no ids get such: a call one by its number, an answer that of the first call that fits and has none yet.
    """
    calls = _numbered([call for message in messages for call in message.tool_calls])
    names = {call.id: call.name for call in calls}
    waiting: list[CalledTool] = []
    turns: list[Turn] = []
    for message in messages:
        own, calls = calls[: len(message.tool_calls)], calls[len(message.tool_calls) :]
        waiting += own
        turn: Turn = {"role": message.role, "content": message.content}
        if message.thinking:
            turn |= {"thinking": message.thinking, "reasoning_content": message.thinking}
        if own:
            turn["tool_calls"] = [_written(call, as_text=as_text) for call in own]
        if message.role == "tool":
            turn |= _answered(message, waiting, names)
        turns.append(turn)
    return turns


def _numbered(calls: list[CalledTool]) -> list[CalledTool]:
    return [
        call if call.id else CalledTool(name=call.name, arguments=call.arguments, id=f"call{number:05d}")
        for number, call in enumerate(calls)
    ]


def _written(call: CalledTool, *, as_text: bool) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False) if as_text else call.arguments
    return {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": arguments}}


def _answered(message: ChatMessage, waiting: list[CalledTool], names: dict[str, str]) -> Turn:
    """Which call a tool's answer is for, by its id, its name or its place; that call waits no longer."""
    given = message.tool_call_id
    fitting = [call for call in waiting if (call.id == given if given else message.tool_name in ("", call.name))]
    if fitting:
        waiting.remove(fitting[0])
    found = given or (fitting[0].id if fitting else "")
    name = message.tool_name or names.get(found, "")
    return {key: value for key, value in (("tool_call_id", found), ("name", name)) if value}
