"""Bounds of a chat template, before anything parses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddock.errors import InvalidModelFiles

MAX_TEMPLATE_BYTES = 256 * 1024
"""The largest templates of real models have about a tenth of it."""


def check_template_size(template: str, name: str) -> None:
    """InvalidModelFiles for a template of the file `name` that is too large."""
    if len(template.encode(errors="replace")) > MAX_TEMPLATE_BYTES:
        raise InvalidModelFiles(f"The chat template in {name} is larger than {MAX_TEMPLATE_BYTES} bytes.")


def check_template_sizes(settings: Mapping[str, Any], name: str) -> None:
    """The same for the templates in the settings of a tokenizer: one, or a list of named ones."""
    found = settings.get("chat_template")
    for template in found if isinstance(found, list) else [found]:
        text = template.get("template") if isinstance(template, dict) else template
        if isinstance(text, str):
            check_template_size(text, name)
