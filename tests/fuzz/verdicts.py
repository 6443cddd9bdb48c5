"""What an answer to nonsense may look like, and what it may not. It knows no sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

MEMORY_IS_SHORT = 507
_LEAK = re.compile(
    r"/(?:home|Users|root|tmp|usr)/|File \"|\w\.py\b|0x[0-9a-f]{8,}|\bpid[ =]\d+|Traceback|site-packages|msgspec"
)
_PROSE = ("/api/", "/v1/")
"""Routes whose errors are JSON with a sentence."""
_DAMAGE = re.compile(
    r"Traceback \(most recent call last\)|event=(?:crash|load_crashed|decision_crashed|breaker_open)\b"
)


def fault_of(path: str, sent: str, status: int, headers: Mapping[str, str], body: bytes) -> str:
    """Why this answer is a defect of the server; empty for one that is as it should be.

    `headers` have lower-case names. `sent` is what the client said: only what it did not say itself can be a leak.
    """
    text = body.decode("utf-8", "replace")
    for found in _LEAK.finditer(text if status >= 400 else ""):
        if found[0] not in sent:
            return f"it tells what is nobody's business: {found[0]!r}"
    if status >= 500:
        return "" if _is_deliberate(status, text) else f"status {status}"
    if status >= 400:
        return _fault_of_refusal(path, text)
    return _fault_of_success(headers.get("content-type", ""), text)


def damage_in(log: str) -> str:
    """The first line of a server's log that no request may cause: a traceback, a runner that died."""
    found = _DAMAGE.search(log)
    return log[found.start() :][:2000] if found else ""


def _is_deliberate(status: int, text: str) -> bool:
    """Whether it says in a sentence that memory is short; requests come one by one, so no queue is ever full."""
    return status == MEMORY_IS_SHORT and "memory" in text and ".py" not in text


def _fault_of_refusal(path: str, text: str) -> str:
    if not path.startswith(_PROSE) or text in ("", "404 page not found", "405 method not allowed"):
        return ""
    try:
        message = _sentence(json.loads(text))
    except (ValueError, KeyError, TypeError):
        return f"its refusal is not JSON with a sentence: {text[:200]!r}"
    return "" if message.strip() else "its refusal says nothing"


def _sentence(answer: object) -> str:
    assert isinstance(answer, dict)
    error = answer["error"]
    return error if isinstance(error, str) else error["message"]


def _fault_of_success(content_type: str, text: str) -> str:
    try:
        for message in _messages(content_type, text):
            json.loads(message, parse_constant=_refuse)
    except ValueError as error:
        return f"it is not valid JSON: {error}"
    return ""


def _messages(content_type: str, text: str) -> Iterator[str]:
    if "event-stream" in content_type:
        lines = (line.removeprefix("data:").strip() for line in text.split("\n") if line.startswith("data:"))
        yield from (line for line in lines if line != "[DONE]")
    elif "ndjson" in content_type:
        yield from filter(None, text.split("\n"))
    elif "json" in content_type and text:
        yield text


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")
