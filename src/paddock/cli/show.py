"""What `paddock show` and the session's /show print, from the answer of /api/show. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddock.cli.render import human_number, section

HEAD_LINES = 2
"""Lines of a long text that the overview shows."""
SHOWN_ITEMS = 3


def overview(model: Mapping[str, Any], is_verbose: bool = False) -> str:
    """The sections that a model has something to say in."""
    sections: list[tuple[str, Sequence[Sequence[str]]]] = [
        ("Model", _model_rows(model)),
        ("Capabilities", [[name] for name in model.get("capabilities") or ()]),
        ("Projector", _plain_rows(model.get("projector_info") or {})),
        ("Parameters", parameter_rows(str(model.get("parameters") or ""))),
    ]
    if is_verbose:
        sections.append(("Metadata", _plain_rows(model.get("model_info") or {})))
        sections.append(("Tensors", [_tensor_row(tensor) for tensor in model.get("tensors") or ()]))
    sections.append(("System", _head(str(model.get("system") or ""))))
    sections.append(("License", _head(str(model.get("license") or ""))))
    return "".join(section(title, rows) for title, rows in sections if rows)


def parameter_rows(text: str) -> list[list[str]]:
    """Name and value of each line of the API's `parameters`."""
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]


def _model_rows(model: Mapping[str, Any]) -> list[list[str]]:
    details, info = model.get("details") or {}, model.get("model_info") or {}
    architecture = str(info.get("general.architecture") or details.get("family") or "")
    count = info.get("general.parameter_count")
    figures = {
        "architecture": architecture,
        "parameters": human_number(int(count)) if count else details.get("parameter_size"),
        "context length": info.get(f"{architecture}.context_length") or details.get("context_length"),
        "embedding length": info.get(f"{architecture}.embedding_length") or details.get("embedding_length"),
        "quantization": details.get("quantization_level"),
        "draft model": model.get("draft"),
    }
    return [[label, str(value)] for label, value in figures.items() if value]


def _plain_rows(values: Mapping[str, Any]) -> list[list[str]]:
    return [[key, _plain(values[key])] for key in sorted(values)]


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        more = [f"...+{len(value) - SHOWN_ITEMS} more"] if len(value) > SHOWN_ITEMS else []
        return f"[{', '.join([*map(_plain, value[:SHOWN_ITEMS]), *more])}]"
    return "" if value is None else str(value)


def _tensor_row(tensor: Mapping[str, Any]) -> list[str]:
    shape = ", ".join(str(size) for size in tensor.get("shape") or ())
    return [str(tensor.get("name", "")), str(tensor.get("type", "")), f"[{shape}]"]


def _head(text: str) -> list[list[str]]:
    lines = [[line.strip()] for line in text.splitlines() if line.strip()]
    return lines if len(lines) <= HEAD_LINES else [*lines[:HEAD_LINES], ["..."]]
