"""The document as one page of HTML for people: no script, nothing from elsewhere. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]

_STYLE = """
body { margin: 0 auto; max-width: 60rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c;
  background: #fff }
nav ul { list-style: none; padding: 0; columns: 18rem }
section { border-top: 1px solid #ccc; padding-top: .5rem }
h2 { margin: 1.5rem 0 .5rem } h3 { font: 600 1rem ui-monospace, monospace; margin: 1rem 0 .25rem }
h3 b { color: #0a5c36; margin-right: .5rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
td, th { border-top: 1px solid #e4e4e4; padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top }
pre { background: #f4f4f2; padding: .75rem; overflow-x: auto; font-size: .85rem }
td:first-child code { white-space: nowrap } summary { cursor: pointer }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #161616 } pre { background: #242424 }
  section, td, th { border-color: #3a3a3a } a { color: #8ab4f8 } h3 b { color: #6fcf97 } }
"""


def page(document: Json, base_url: str) -> str:
    """The page; `base_url` is where the reader reached the server, for lines that can be copied."""
    by_dialect: dict[str, list[tuple[str, str, Json]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_dialect.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    info = document["info"]
    sections = "".join(_section(dialect, found, document, base_url) for dialect, found in by_dialect.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])} "
        f'The same for programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"<nav><ul>{_contents(by_dialect)}</ul></nav>{sections}</body></html>"
    )


def _contents(by_dialect: Mapping[str, list[tuple[str, str, Json]]]) -> str:
    return "".join(
        f'<li><a href="#{escape(operation["operationId"])}">{method} {escape(path)}</a></li>'
        for found in by_dialect.values()
        for method, path, operation in found
    )


def _section(dialect: str, found: list[tuple[str, str, Json]], document: Json, base_url: str) -> str:
    return (
        f"<section><h2>{escape(dialect)}</h2>"
        + "".join(
            f'<h3 id="{escape(operation["operationId"])}"><b>{method}</b>{escape(path)}</h3>'
            f"<p>{escape(operation['summary'])}</p>"
            f"<pre>{escape(_curl(method, path, operation, base_url))}</pre>{_fields(operation, document)}"
            for method, path, operation in found
        )
        + "</section>"
    )


def _curl(method: str, path: str, operation: Json, base_url: str) -> str:
    line = f"curl {'-I ' if method == 'HEAD' else '' if method in ('GET', 'POST') else f'-X {method} '}{base_url}{path}"
    content = operation.get("requestBody", {}).get("content", {})
    if "application/octet-stream" in content:
        return f"{line} --data-binary @FILE"
    if not content:
        return line if method != "POST" else f"{line} -d ''"
    example = json.dumps(content["application/json"].get("example", {}), ensure_ascii=False)
    quoted = example.replace("'", "'\\''")
    return f"{line} -H 'Content-Type: application/json' \\\n  -d '{quoted}'"


def _fields(operation: Json, document: Json) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    rows = "".join(_rows(content["schema"], document, "", ())) if content else ""
    if not rows:
        return ""
    return (
        "<details><summary>Fields</summary><table><tr><th>Field</th><th>Type</th><th>What becomes of it</th></tr>"
        f"{rows}</table></details>"
    )


def _rows(schema: Json, document: Json, path: str, above: tuple[str, ...]) -> Iterator[str]:
    """A row for each field, and for those of the objects within it."""
    for reference, mark in _objects(schema):
        name = reference.rpartition("/")[2]
        if name in above:
            continue
        prefix = f"{path}{mark}." if path else ""
        for field, told in document["components"]["schemas"][name].get("properties", {}).items():
            place = f"{prefix}{field}"
            yield (
                f"<tr><td><code>{escape(place)}</code></td><td>{escape(type_of(told))}</td>"
                f"<td>{escape(told.get('description', ''))}</td></tr>"
            )
            yield from _rows(told, document, place, (*above, name))


def _objects(schema: Json, mark: str = "") -> Iterator[tuple[str, str]]:
    """The named objects that a value may be or hold, each with `[]` for every list around it."""
    if "$ref" in schema:
        yield schema["$ref"], mark
    for inner in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _objects(inner, mark)
    if isinstance(schema.get("items"), Mapping):
        yield from _objects(schema["items"], f"{mark}[]")


def type_of(schema: Json) -> str:
    """The type of a value in a few words; null, which every field may be, is left out."""
    if "anyOf" in schema or "oneOf" in schema:
        members = schema.get("anyOf") or schema["oneOf"]
        return " or ".join(dict.fromkeys(word for one in members if (word := type_of(one)) != "null"))
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"] if value is not None)
    if "$ref" in schema:
        return "object"
    kind = schema.get("type", "anything")
    kind = " or ".join(one for one in kind if one != "null") if isinstance(kind, list) else str(kind)
    if kind == "array":
        return f"list of {type_of(schema['items'])}" if schema.get("items") else "list"
    least, most = schema.get("minimum"), schema.get("maximum")
    bounds = [f"from {least}" if least is not None else "", f"to {most}" if most is not None else ""]
    return " ".join([kind, *filter(None, bounds)])
