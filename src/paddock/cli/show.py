"""What `paddock show` and the session's /show print, from the answer of /api/show. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from paddock.cli.render import human_bytes, human_number
from paddock.cli.sections import Section, plain

HEAD_LINES = 2
"""Lines of a long text that the overview shows."""
SHOWN_ITEMS = 3
COMMIT_DIGITS = 12

VERDICTS: Mapping[str, str] = MappingProxyType(
    {
        "loaded": "loaded",
        "fits": "fits now",
        "evicts": "fits after eviction",
        "waits": "fits once others are at rest",
        "never": "does not fit",
    }
)
"""What the API's words about memory mean."""
_MARKS: Mapping[str, str] = MappingProxyType(
    {
        VERDICTS["loaded"]: "green",
        VERDICTS["fits"]: "green",
        VERDICTS["evicts"]: "yellow",
        VERDICTS["waits"]: "yellow",
        VERDICTS["never"]: "red",
    }
)


def overview(model: Mapping[str, Any], is_verbose: bool = False) -> str:
    """The sections that a model has something to say in, as plain text."""
    return plain(sections(model, is_verbose))


def sections(model: Mapping[str, Any], is_verbose: bool = False) -> list[Section]:
    """Those that a model has something to say in; the first are Ollama's, in its order."""
    return [section for section in _sections(model, is_verbose) if section.rows]


def _sections(model: Mapping[str, Any], is_verbose: bool) -> Iterator[Section]:
    yield Section("Model", _model_rows(model))
    yield Section("Capabilities", [[name] for name in model.get("capabilities") or ()])
    yield Section("Projector", _plain_rows(model.get("projector_info") or {}))
    yield Section("Parameters", parameter_rows(str(model.get("parameters") or "")))
    yield Section("Size", _size_rows(model), ("PART", "PARAMETERS", "SIZE", "FORMAT", ""))
    yield _memory(model.get("memory") or {})
    if is_verbose:
        yield Section("Metadata", _plain_rows(model.get("model_info") or {}))
        yield Section("Tensors", [_tensor_row(tensor) for tensor in model.get("tensors") or ()])
    yield Section("System", _head(str(model.get("system") or "")))
    yield Section("License", _head(str(model.get("license") or "")))


def parameter_rows(text: str) -> list[list[str]]:
    """Name and value of each line of the API's `parameters`."""
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]


# ---- what it is -----------------------------------------------------------------------------------------------------


def _model_rows(model: Mapping[str, Any]) -> list[list[str]]:
    details, info = model.get("details") or {}, model.get("model_info") or {}
    architecture = str(info.get("general.architecture") or details.get("family") or "")
    count = info.get("general.parameter_count")
    own = {key.removeprefix(f"{architecture}."): value for key, value in info.items()}
    figures = {
        "architecture": architecture,
        "parameters": human_number(int(count)) if count else details.get("parameter_size"),
        "context length": own.get("context_length") or details.get("context_length"),
        "embedding length": own.get("embedding_length") or details.get("embedding_length"),
        "quantization": details.get("quantization_level"),
        "picture size": f"{own['width']} x {own['height']}" if own.get("width") and own.get("height") else None,
        "steps": own.get("steps"),
        "guidance": own.get("guidance"),
        "draft model": model.get("draft"),
        "template": _template(str(model.get("template") or "")),
        "made from": details.get("parent_model"),
        "made as": _recipe(model.get("recipe") or {}),
        "pulled from": _origin(model.get("origin") or {}),
    }
    return [[label, str(value)] for label, value in figures.items() if value]


def _template(text: str) -> str:
    """Only how large it is: --template prints it."""
    return f"Jinja, {len(text)} characters" if text else ""


def _recipe(recipe: Mapping[str, Any]) -> str:
    """The kind of its weights, which layers are of another one, and that an adapter is in them."""
    layers = recipe.get("layers") or {}
    others = [f"{kind} for {', '.join(paths)}" for kind, paths in layers.items()]
    kind = f"{recipe['kind']} in groups of {recipe.get('group_size')}" if recipe.get("kind") else ""
    return "; ".join(part for part in (kind, *others, "with an adapter" if recipe.get("adapter") else "") if part)


def _origin(origin: Mapping[str, Any]) -> str:
    commit = str(origin.get("commit") or "")[:COMMIT_DIGITS]
    return f"{origin.get('repository', '')}{f' at {commit}' if commit else ''}"


# ---- what it takes --------------------------------------------------------------------------------------------------


def _size_rows(model: Mapping[str, Any]) -> list[list[str]]:
    parts = model.get("components") or ()
    rows = [
        [
            str(part["name"]),
            human_number(int(part["parameters"])),
            human_bytes(int(part["size"])),
            str(part["quantization_level"]),
            _loaded(int(part["loaded"]), int(part["size"])),
        ]
        for part in parts
    ]
    return [*rows, ["on disk", "", human_bytes(int(model.get("size") or 0))]] if rows else []


def _loaded(loaded_bytes: int, size_bytes: int) -> str:
    """Only what needs saying: usually all of it is."""
    if loaded_bytes >= size_bytes:
        return ""
    return f"{human_bytes(loaded_bytes)} of it loaded" if loaded_bytes else "not loaded"


def _memory(memory: Mapping[str, Any]) -> Section:
    needs, pool = memory.get("needs") or (), memory.get("pool")
    of_pictures = any(need.get("width") for need in needs)
    there = f" ({human_bytes(pool['free'])} of {human_bytes(pool['total'])} free)" if pool else ""
    return Section(
        f"Memory{there}",
        [_need_row(need) for need in needs],
        ("PICTURE" if of_pictures else "CONTEXT", "AT ONCE", "NEEDS", "NOW"),
        _MARKS,
    )


def _need_row(need: Mapping[str, Any]) -> list[str]:
    size = f"{need['width']} x {need['height']}" if need.get("width") else str(need.get("context_length", 0))
    verdict = str(need["verdict"])
    evicts = f" of {', '.join(need['evicts'])}" if need.get("evicts") else ""
    lowered = ", with less than the defaults" if need.get("is_lowered") and verdict != "never" else ""
    return [
        f"{size} (default)" if need.get("is_default") else size,
        str(need.get("parallel", 1)),
        human_bytes(int(need["terms"]["total"])),
        f"{VERDICTS.get(verdict, verdict)}{evicts}{lowered}",
    ]


# ---- what it says ---------------------------------------------------------------------------------------------------


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
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if line.strip()]
    return [[line] for line in (lines if len(lines) <= HEAD_LINES else [*lines[:HEAD_LINES], "..."])]
