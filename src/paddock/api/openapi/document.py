"""The OpenAPI document, made of the table of routes, the handlers' docstrings and the Structs. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.routing import BaseRoute, Route

from paddock.api.openapi.fields import REQUIRED, clause_of, fields_of, structs_in
from paddock.api.openapi.operations import OPERATIONS, Operation, Shape, Together

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_TEXT: Json = {"type": "string"}
_ABOUT = (
    "Ollama's API, OpenAI's and Anthropic's over models that run on this machine. Every documented field is honoured "
    "or answered with a status of 400; fields that no schema names are passed over."
)
_ERRORS: Mapping[str, Json] = {
    "OllamaError": {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]},
    "OpenAIError": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "message": _TEXT,
                    "type": _TEXT,
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
                "required": ["message", "type", "param", "code"],
            }
        },
        "required": ["error"],
    },
    "AnthropicError": {
        "type": "object",
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "properties": {"type": _TEXT, "message": _TEXT},
                "required": ["type", "message"],
            },
        },
        "required": ["type", "error"],
    },
}
_ERROR_OF = {"Ollama": "OllamaError", "Paddock": "OllamaError", "Anthropic": "AnthropicError"}
"""Of every other dialect it is OpenAI's."""


def document(routes: Iterable[BaseRoute], version: str) -> Json:
    """The document of these routes, as OpenAPI 3.1. A route that the table of operations does not know is left out."""
    schemas = _Schemas(OPERATIONS.values())
    paths: dict[str, Json] = {}
    for method, route in methods_of(routes):
        operation = OPERATIONS.get(f"{method} {route.path_format}")
        if operation is not None:
            paths.setdefault(route.path_format, {})[method.lower()] = _operation(method, route, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Paddock", "version": version, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, **_ERRORS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key, where the server asks for one."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key."},
            },
        },
        "security": [{}, {"bearer": []}, {"apiKey": []}],
    }


def methods_of(routes: Iterable[BaseRoute]) -> list[tuple[str, Route]]:
    """Each method of each route; HEAD only where it is asked for on its own, since every GET answers it as well."""
    found = [route for route in routes if isinstance(route, Route)]
    return [
        (method, route)
        for route in found
        for method in _METHODS
        if method in (route.methods or ()) and (method != "HEAD" or "GET" not in (route.methods or ()))
    ]


def summary_of(route: Route) -> str:
    """What the handler's docstring says in its first paragraph, without the method and path that may open it."""
    paragraph = (inspect.getdoc(route.endpoint) or "").partition("\n\n")[0]
    said = re.sub(r"^(?:(?:GET|HEAD|POST|DELETE|and|,|\s)+/\S*)+[:,]?\s*", "", " ".join(paragraph.split()))
    return said[:1].upper() + said[1:]


def _operation(method: str, route: Route, operation: Operation, schemas: _Schemas) -> Json:
    error = {"$ref": _REF.format(name=_ERROR_OF.get(operation.dialect, "OpenAIError"))}
    told: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{route.path_format}").strip("_"),
        "tags": [operation.dialect],
        "summary": summary_of(route),
        "parameters": _parameters(route, operation),
        "responses": {
            str(operation.status): _answer(operation, schemas, error),
            "4XX": {"description": "The request cannot be served as it was written.", "content": _content(error)},
            "5XX": {"description": "The server, or the model's process, cannot do it now.", "content": _content(error)},
        },
    }
    if operation.body is not None or operation.request_type != _JSON:
        told["requestBody"] = {"required": True, "content": _request(operation, schemas)}
    return told


def _parameters(route: Route, operation: Operation) -> list[Json]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.param_convertors
    ]
    in_query = [
        {"name": name, "in": "query", "required": False, "description": clause, "schema": {"type": "string"}}
        for name, clause in operation.query.items()
    ]
    return in_path + in_query


def _request(operation: Operation, schemas: _Schemas) -> Json:
    if operation.body is None:
        return {operation.request_type: {"schema": {"type": "string", "format": "binary"}}}
    schema = schemas.of(operation.body)
    content: Json = {_JSON: {"schema": schema}}
    if operation.example is not None:
        content[_JSON]["example"] = dict(operation.example)
    if operation.form:
        content["multipart/form-data"] = {"schema": {"type": "object"}}
    return content


def _answer(operation: Operation, schemas: _Schemas, error: Json) -> Json:
    content: Json = {}
    if operation.answers:
        content[_JSON] = {"schema": _any_of([schemas.of(shape) for shape in operation.answers])}
    if operation.stream:
        each = _any_of([*(schemas.of(shape) for shape in operation.stream), error])
        content[operation.stream_type] = {"schema": each}
    if operation.other_type:
        content[operation.other_type] = {"schema": {}}
    return {"description": "The answer.", "content": content} if content else {"description": "Done."}


def _content(schema: Json) -> Json:
    return {_JSON: {"schema": schema}}


def _any_of(schemas: Sequence[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


class _Schemas:
    """The schemas of all Structs that the operations name, and of those within them."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        bodies = [operation.body for operation in operations if operation.body is not None]
        requests = {kind: None for body in bodies for kind in structs_in(body)}
        shapes = [shape for operation in operations for shape in (*operation.answers, *operation.stream)]
        answers = [part for shape in shapes for part in (shape.parts if isinstance(shape, Together) else (shape,))]
        kinds = list({**requests, **dict.fromkeys(answers)})
        references, self.components = msgspec.json.schema_components(kinds, ref_template=_REF)
        self._references = dict(zip(kinds, references, strict=True))
        for kind in requests:
            _tell_fields(self.components[self._references[kind]["$ref"].rpartition("/")[2]], kind)

    def of(self, shape: Shape) -> Json:
        if isinstance(shape, Together):
            return {"allOf": [self._references[part] for part in shape.parts]}
        return self._references[shape]


def _tell_fields(schema: Json, kind: type[msgspec.Struct]) -> None:
    """Write what becomes of each field into the schema of a request, and which ones must be given."""
    required = set(schema.get("required", ()))
    for field in fields_of(kind):
        name = field.encode_name
        told, clause = dict(schema["properties"][name]), clause_of(kind, name)
        if told.get("default", ...) is None:
            del told["default"]
        if clause.startswith(REQUIRED):
            required.add(name)
            told = _without_null(told)
        schema["properties"][name] = {**told, "description": clause}
    if required:
        schema["required"] = sorted(required)


def _without_null(schema: Json) -> Json:
    rest = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if not rest:
        return schema
    others = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**others, **rest[0]} if len(rest) == 1 else {**others, "anyOf": rest}
