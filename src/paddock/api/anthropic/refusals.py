"""Fields of Anthropic's that only its own service can honour are refused here: never ignored. Pure."""

from __future__ import annotations

from typing import Any

from paddock.api.anthropic.schemas import ConversationBody, MessagesBody
from paddock.errors import InvalidField, Unsupported


def check_fields(body: ConversationBody) -> None:
    """Unsupported for the first field that asks for what there is not here; InvalidField for nonsense."""
    if body.mcp_servers:
        raise _unsupported("mcp_servers", "connect to them yourself and offer their tools")
    if body.context_management is not None and not _keeps_all(body.context_management):
        raise _unsupported("context_management", "leave out of the conversation what the model should forget")
    if body.speed not in (None, "standard"):
        raise _unsupported("speed", "leave it out")
    if isinstance(body, MessagesBody):
        _check_message_fields(body)


def _check_message_fields(body: MessagesBody) -> None:
    only_there = {
        "container": body.container,
        "fallbacks": body.fallbacks,
        "fallback_credit_token": body.fallback_credit_token,
        "billing_policy": body.billing_policy,
        "compaction": body.compaction,
        "thread": body.thread,
    }
    for name, value in only_there.items():
        if value is not None:
            raise _unsupported(name, "leave it out")
    if body.diagnostics is not None and body.diagnostics.previous_message_id is not None:
        raise _unsupported("diagnostics", "leave it out")
    if body.inference_geo not in (None, "global"):
        raise _unsupported("inference_geo", "an answer is made where this server runs, so leave it out")
    if body.service_tier not in (None, "auto", "standard_only"):
        raise InvalidField('"service_tier" must be "auto" or "standard_only".', "service_tier")


def _unsupported(name: str, remedy: str) -> Unsupported:
    return Unsupported(f'"{name}" is not supported: {remedy}.')


def _keeps_all(management: dict[str, Any]) -> bool:
    """Whether it asks for no more than is done anyway: earlier thinking goes to the model's template, all of it."""
    edits = management.get("edits") or []
    return isinstance(edits, list) and all(
        isinstance(edit, dict) and edit.get("type") == "clear_thinking_20251015" and _is_all(edit.get("keep"))
        for edit in edits
    )


def _is_all(keep: object) -> bool:
    return keep in ("all", {"type": "all"})
