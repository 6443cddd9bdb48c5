"""Checks of a chat template that a client brings along. Rendering it is the runner's business."""

from __future__ import annotations

import re

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser

from paddock.errors import BadRequest, Unsupported
from paddock.vetting.templates import MAX_TEMPLATE_BYTES

_GO = re.compile(r"\{\{-?\s*(\.[A-Z]|\$|(if|with|range|define|block)\s|(end|else)\s*-?\}\}|else\s+if\s|/\*)")
"""What opens an action of Go's text/template and can open no Jinja expression."""


def check_template(template: str) -> None:
    """Refuse what no runner could render: Go templates (Unsupported), broken Jinja and oversized ones (BadRequest)."""
    if len(template) > MAX_TEMPLATE_BYTES:
        raise BadRequest(f"The template is larger than {MAX_TEMPLATE_BYTES} bytes.")
    if is_go_template(template):
        raise Unsupported(
            "The template is a Go template, but Paddock renders Jinja chat templates; "
            "leave TEMPLATE out to use the model's own."
        )
    try:
        jinja2.Environment(extensions=[LoopControlExtension, _Generation]).parse(template)
    except (jinja2.TemplateSyntaxError, RecursionError, ValueError) as error:
        line = f" in line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise BadRequest(f"The template is not valid Jinja{line}.") from None


def is_go_template(template: str) -> bool:
    """Whether it is in Ollama's language for templates, which nothing here renders."""
    return bool(_GO.search(template))


class _Generation(Extension):
    """`{% generation %}`, with which templates mark the assistant's words for training; it renders as its body."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own class attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
