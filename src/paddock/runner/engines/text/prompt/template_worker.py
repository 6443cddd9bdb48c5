"""A process that renders chat templates and knows nothing else: no model, no MLX, no files.

A template is a program of a stranger. The sandbox keeps it from everything but its own data, and the system keeps it
from time and memory: the process has so much of both, and when it takes more it is simply gone. One request is one
line of JSON on stdin, one answer one line on stdout; the end of stdin is the end of the process.
"""

from __future__ import annotations

import functools
import json
import resource
import signal
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MEMORY_BYTES = 1024**3
_KEPT_TEMPLATES = 8

REFUSED, FAILED, TOO_LONG = "refused", "failed", "too_long"


class _TooLong(Exception):
    """The text is longer than it may be."""


def main() -> None:
    """Answer requests until there are no more."""
    if sys.platform == "linux":  # macOS takes this limit and ignores it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        # No handler: when its processor time is used up, the system ends this process wherever it is.
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        answer = json.dumps(answer_to(request)).encode()
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()


def answer_to(request: dict[str, Any]) -> dict[str, str]:
    """{"text"}, or {"problem", "message"}: what the template itself refused, or that it failed or wrote too much."""
    try:
        pieces = compiled(request["template"]).generate(request["variables"])
        return {"text": "".join(_bounded(pieces, request["characters"]))}
    except _TooLong:
        return {"problem": TOO_LONG, "message": ""}
    except jinja2.TemplateError as error:
        return {"problem": REFUSED, "message": " ".join((error.message or type(error).__name__).split())}
    except (
        *(TypeError, ValueError, LookupError, AttributeError, RecursionError, ArithmeticError, MemoryError),
        *(AssertionError, SyntaxError, NameError),
    ) as error:
        return {"problem": FAILED, "message": type(error).__name__}


def _bounded(pieces: Iterable[str], characters: int) -> Iterable[str]:
    for piece in pieces:
        characters -= len(piece)
        if characters < 0:
            raise _TooLong
        yield piece


@functools.lru_cache(_KEPT_TEMPLATES)
def compiled(template: str) -> jinja2.Template:
    """A template ready to render, in the environment that Hugging Face's chat templates are written for."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals = {
        "range": environment.globals["range"],
        "dict": _Dict(),
        "namespace": _PlainNamespace,
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
    }
    return environment.from_string(template)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Unlike Jinja's own filter it does not escape what HTML would need."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: object) -> NoReturn:
    raise jinja2.TemplateError(str(message))


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)  # noqa: DTZ005 -- the date where the user is


class _Dict:
    """`dict` without the class's attributes."""

    def __call__(self, *arguments: Any, **fields: Any) -> dict[Any, Any]:
        return dict(*arguments, **fields)


class _PlainNamespace(Namespace):
    """Jinja's namespace without names that begin with an underscore."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"A namespace has no attribute {name!r}")
        super().__setitem__(name, value)


class _Generation(Extension):
    """`{% generation %}`, with which templates mark the assistant's words for training; it renders as its body."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own class attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return [nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)]

    def _body(self, caller: Any) -> str:
        return str(caller())


if __name__ == "__main__":
    main()
