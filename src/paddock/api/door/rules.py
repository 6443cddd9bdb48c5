"""What each route asks of whoever calls it: how far their key must go, and how large a body may be. Pure.

A route that is not in the table asks for the most: a new one is closed until somebody decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

MIB = 1024 * 1024
NAMES_BYTES = MIB
"""Of a body that names models and little else."""
TEXTS_BYTES = 16 * MIB
"""Of a body of texts: several times the longest context there is."""
PICTURES_BYTES = 64 * MIB
"""Of a body that may bring pictures along."""


class Access(IntEnum):
    """How far a key goes; each includes those before it."""

    OPEN = 0
    """No key is asked for."""
    INFER = 1
    """Using models, and seeing which there are."""
    MANAGE = 2
    """Changing which there are, and looking into the server, as far as the key's models go."""
    OPERATE = 3
    """Looking at the server as a whole: managing, and no limit to some models."""


@dataclass(frozen=True)
class Rule:
    """Of one route."""

    access: Access
    body_bytes: int = NAMES_BYTES


UNCLASSIFIED = Rule(Access.OPERATE)
"""Of a route that is not in the table."""
NOWHERE = Rule(Access.INFER)
"""Of a path that is no route: any key may learn so."""

RULES: Mapping[str, Rule] = {
    "GET /": Rule(Access.OPEN),
    "GET /api/version": Rule(Access.OPEN),
    "GET /api/tags": Rule(Access.INFER),
    "GET /api/ps": Rule(Access.INFER),
    "GET /api/status": Rule(Access.MANAGE),
    "GET /metrics": Rule(Access.OPERATE),
    "POST /api/fit": Rule(Access.MANAGE),
    "POST /api/show": Rule(Access.INFER),
    "POST /api/copy": Rule(Access.MANAGE),
    "DELETE /api/delete": Rule(Access.MANAGE),
    "POST /api/create": Rule(Access.MANAGE, TEXTS_BYTES),
    "POST /api/pull": Rule(Access.MANAGE),
    "POST /api/push": Rule(Access.MANAGE),
    "HEAD /api/blobs/{digest}": Rule(Access.MANAGE),
    # A blob is written as it comes, so only the disk bounds it.
    "POST /api/blobs/{digest}": Rule(Access.MANAGE),
    "POST /api/generate": Rule(Access.INFER, PICTURES_BYTES),
    "POST /api/chat": Rule(Access.INFER, PICTURES_BYTES),
    "POST /api/embed": Rule(Access.INFER, TEXTS_BYTES),
    "POST /api/embeddings": Rule(Access.INFER, TEXTS_BYTES),
    "POST /api/me": Rule(Access.INFER),
    "POST /api/signout": Rule(Access.INFER),
    "POST /api/experimental/web_search": Rule(Access.INFER),
    "POST /api/experimental/web_fetch": Rule(Access.INFER),
    "GET /openapi.json": Rule(Access.INFER),
    "GET /docs": Rule(Access.INFER),
    "POST /v1/chat/completions": Rule(Access.INFER, TEXTS_BYTES),
    "POST /v1/completions": Rule(Access.INFER, TEXTS_BYTES),
    "GET /v1/models": Rule(Access.INFER),
    "GET /v1/models/{model:path}": Rule(Access.INFER),
    "POST /v1/responses": Rule(Access.INFER, TEXTS_BYTES),
    "POST /v1/responses/input_tokens": Rule(Access.INFER, TEXTS_BYTES),
    # What is kept of a response is there for the one who asked for it alone.
    "GET /v1/responses/{id}": Rule(Access.INFER),
    "DELETE /v1/responses/{id}": Rule(Access.INFER),
    "POST /v1/responses/{id}/cancel": Rule(Access.INFER),
    "GET /v1/responses/{id}/input_items": Rule(Access.INFER),
    "POST /v1/messages": Rule(Access.INFER, TEXTS_BYTES),
    "POST /v1/messages/count_tokens": Rule(Access.INFER, TEXTS_BYTES),
    "POST /v1/embeddings": Rule(Access.INFER, TEXTS_BYTES),
    "POST /v1/rerank": Rule(Access.INFER, TEXTS_BYTES),
    "POST /v1/images/generations": Rule(Access.INFER),
    "POST /v1/images/edits": Rule(Access.INFER, PICTURES_BYTES),
    # Its name is its key: 192 random bits that only whoever asked for the picture was told, for an hour.
    "GET /v1/images/files/{name}": Rule(Access.OPEN),
}
"""By method and path; HEAD goes as GET does."""


class Rulebook:
    """The rules of a set of routes."""

    def __init__(self, routes: Iterable[BaseRoute], rules: Mapping[str, Rule] = RULES) -> None:
        self._exact: dict[tuple[str, str], Rule] = {}
        self._patterns: list[tuple[Route, Mapping[str, Rule]]] = []
        for route in routes:
            assert isinstance(route, Route), "only plain routes can be looked up here"
            found = {method: rules.get(name, UNCLASSIFIED) for method, name in names_of(route)}
            if "{" in route.path:
                self._patterns.append((route, found))
            else:
                self._exact |= {(method, route.path): rule for method, rule in found.items()}

    def rule_for(self, scope: Scope) -> Rule:
        """Decided by the path as it came, never by what a Host header makes of it."""
        exact = self._exact.get((scope["method"], scope["path"]))
        if exact is not None:
            return exact
        for route, found in self._patterns:
            if route.matches(scope)[0] is Match.FULL:
                return found[scope["method"]]
        return NOWHERE


def names_of(route: Route) -> list[tuple[str, str]]:
    """Each method of a route, and the name of its row in the table."""
    methods = route.methods or set()
    is_read = {"GET", "HEAD"} <= methods
    return [(method, f"{'GET' if method == 'HEAD' and is_read else method} {route.path}") for method in sorted(methods)]
