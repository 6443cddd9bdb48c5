"""How each server wants to be asked for a stream, and how it tells a piece of text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dialect:
    """One way to ask for the words after a prompt."""

    path: str
    body: Callable[[str, str, int], dict[str, Any]]
    """For a model, a prompt, and so many tokens."""
    piece: Callable[[bytes], str]
    """The text of one line of a stream; empty if it has none."""


def _generate_body(model: str, prompt: str, tokens: int) -> dict[str, Any]:
    options = {"temperature": 0, "num_predict": tokens, "num_ctx": 32768}
    return {"model": model, "prompt": prompt, "raw": True, "options": options}


def _completions_body(model: str, prompt: str, tokens: int) -> dict[str, Any]:
    return {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True}


def _chat_body(model: str, prompt: str, tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True}


def _generate_piece(line: bytes) -> str:
    return str(json.loads(line).get("response", "")) if line.strip() else ""


def _completions_piece(line: bytes) -> str:
    return str(_choice(line).get("text") or "")


def _chat_piece(line: bytes) -> str:
    return str((_choice(line).get("delta") or {}).get("content") or "")


def _choice(line: bytes) -> Mapping[str, Any]:
    text = line.removeprefix(b"data:").strip()
    if not line.startswith(b"data:") or text == b"[DONE]":
        return {}
    choices = json.loads(text).get("choices")
    return choices[0] if choices else {}


GENERATE = Dialect("/api/generate", _generate_body, _generate_piece)
"""Ollama's."""
COMPLETIONS = Dialect("/v1/completions", _completions_body, _completions_piece)
"""OpenAI's older one."""
CHAT = Dialect("/v1/chat/completions", _chat_body, _chat_piece)
"""OpenAI's newer one; the model's template is nothing but the prompt."""
