"""What a model can do, in Ollama's words, from its chat template and the names of its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddock.errors import InvalidModelFiles
from paddock.vetting.abilities import calls_tools, infill_marks, thinks
from paddock.vetting.model_config import read_config
from paddock.vetting.settings import MAX_SETTINGS_BYTES, TOKENIZER_SETTINGS
from paddock.vetting.templates import MAX_TEMPLATE_BYTES

TEMPLATE_FILE = "chat_template.jinja"
_OLDER_TEMPLATE_FILE = "chat_template.json"
_ORDER = ("completion", "tools", "insert", "thinking")


def text_capabilities(files: Mapping[str, Path]) -> tuple[str, ...]:
    """Those of a text model of these files. What cannot be read adds none: other checks refuse it."""
    settings = _settings(files, TOKENIZER_SETTINGS)
    found = set(with_template(("completion",), _template(files, settings)))
    if infill_marks(_token_names(settings)):
        found.add("insert")
    # The library's own code for a few families takes the place of a template or of a search for it.
    if isinstance(settings.get("chat_template_type"), str):
        found |= {"tools", "thinking"}
    if isinstance(settings.get("tool_parser_type"), str):
        found.add("tools")
    return _ordered(found)


def with_template(capabilities: tuple[str, ...], template: str) -> tuple[str, ...]:
    """What a model can do once another template takes the place of its own."""
    found = set(capabilities) - {"tools", "thinking"}
    if "completion" in found and calls_tools(template):
        found.add("tools")
    if "completion" in found and thinks(template):
        found.add("thinking")
    return _ordered(found)


def own_template(files: Mapping[str, Path]) -> str:
    """The chat templates in a model's own files, as one text; empty where they have none."""
    return _template(files, _settings(files, TOKENIZER_SETTINGS))


def _ordered(found: set[str]) -> tuple[str, ...]:
    return tuple(sorted(found, key=lambda word: (_ORDER.index(word) if word in _ORDER else len(_ORDER), word)))


def _settings(files: Mapping[str, Path], name: str) -> Mapping[str, Any]:
    try:
        return read_config(files[name], name, MAX_SETTINGS_BYTES) if name in files else {}
    except InvalidModelFiles:
        return {}


def _template(files: Mapping[str, Path], settings: Mapping[str, Any]) -> str:
    """All the model's templates in one text. A file of its own goes before the settings, as for the runner."""
    if TEMPLATE_FILE in files:
        try:
            data = files[TEMPLATE_FILE].read_bytes()
        except OSError:
            return ""
        return data[:MAX_TEMPLATE_BYTES].decode(errors="replace")
    older = _settings(files, _OLDER_TEMPLATE_FILE).get("chat_template")
    found = older or settings.get("chat_template")
    named = found if isinstance(found, list) else [found]
    texts = [one.get("template") if isinstance(one, dict) else one for one in named]
    return "\n".join(text for text in texts if isinstance(text, str))


def _token_names(settings: Mapping[str, Any]) -> set[str]:
    added = settings.get("added_tokens_decoder")
    tokens = added.values() if isinstance(added, dict) else ()
    names = (token.get("content") if isinstance(token, dict) else token for token in tokens)
    return {name for name in names if isinstance(name, str)}
