"""The grammar of the Modelfile: text in, a model's description out. It knows no files and no server.

    # a comment
    FROM <model or folder>
    ADAPTER <folder>
    PARAMETER <name> <value>
    TEMPLATE | SYSTEM | LICENSE <text>
    MESSAGE system|user|assistant <text>
    DRAFT <model>
    RENDERER | PARSER | REQUIRES <text>

Commands are case-insensitive. A text goes to the end of its line, or from `"` or `\"""` to its counterpart, over as
many lines as that takes. LICENSE, MESSAGE and PARAMETER stop add up; of the others the last one counts.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field

from paddock.cli.parameters import FORMER, Value, parse_parameter
from paddock.errors import BadRequest, InvalidOption, Unsupported

ROLES = ("system", "user", "assistant")
COMMANDS = (
    "FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "LICENSE", "MESSAGE",
    "ADAPTER", "RENDERER", "PARSER", "REQUIRES", "DRAFT",
)  # fmt: skip
UNSUPPORTED = {
    "RENDERER": "built-in renderers do not exist here: use the model's own chat template or TEMPLATE",
    "PARSER": "built-in parsers do not exist here: remove the line",
    "REQUIRES": "it names a version of another server: remove the line",
}


@dataclass(frozen=True)
class Command:
    """One command of a Modelfile; `key` is the name of a PARAMETER or the role of a MESSAGE."""

    name: str
    value: str
    line: int
    key: str = ""


@dataclass
class Modelfile:
    """What a Modelfile says about a model. None means that it says nothing."""

    source: str = ""
    adapter: str | None = None
    draft: str | None = None
    parameters: dict[str, Value] = field(default_factory=dict)
    template: str | None = None
    system: str | None = None
    licenses: list[str] = field(default_factory=list)
    messages: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def decode(data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 with its byte order mark; BadRequest for anything else."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise BadRequest("the Modelfile is not text: save it as UTF-8.") from None


def parse(text: str) -> tuple[Command, ...]:
    """The commands of a Modelfile in their order; BadRequest names the line that breaks the grammar."""
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), start=1)
    return tuple(
        _command(number, line.lstrip(), lines) for number, line in lines if line.strip() and line.lstrip()[0] != "#"
    )


def read(text: str) -> Modelfile:
    """The model that a Modelfile describes; BadRequest and its kinds name the line that cannot be honoured."""
    modelfile = Modelfile()
    for command in parse(text):
        _apply(modelfile, command)
    if not modelfile.source:
        raise BadRequest('the Modelfile has no FROM line: begin with "FROM <model or folder>".')
    return modelfile


def _command(number: int, line: str, lines: Iterator[tuple[int, str]]) -> Command:
    name, rest = _split(line)
    name = name.upper()
    if name not in COMMANDS:
        raise _at(number, f"the command must be one of {', '.join(COMMANDS)}")
    key = ""
    if name in ("PARAMETER", "MESSAGE"):
        key, rest = _split(rest)
    if name == "MESSAGE" and key not in ROLES:
        raise _at(number, "the role of a MESSAGE must be system, user or assistant")
    if not rest.strip():
        raise _at(number, f"{name} needs a value")
    return Command(name, _value(number, rest, lines), number, key)


def _split(text: str) -> tuple[str, str]:
    """The first word, and what follows it."""
    word, rest, *_ = *text.split(maxsplit=1), "", ""
    return word, rest


def _value(number: int, first: str, lines: Iterator[tuple[int, str]]) -> str:
    """A value that begins with `first`, taking as many further lines as its quotes need."""
    text = first
    while (value := _unquote(text.strip())) is None:
        _, line = next(lines, (0, None))
        if line is None:
            raise _at(number, "the quotes are never closed")
        text += "\n" + line
    return value


def _unquote(text: str) -> str | None:
    """The value inside its quotes, or as it stands without any; None while the closing ones are missing."""
    for quotes in ('"""', '"'):
        if text.startswith(quotes):
            is_closed = len(text) >= 2 * len(quotes) and text.endswith(quotes)
            return text[len(quotes) : -len(quotes)] if is_closed else None
    return text


def _apply(modelfile: Modelfile, command: Command) -> None:
    match command.name:
        case "FROM":
            if modelfile.source:
                raise _at(command.line, "a model can be made FROM one source only")
            modelfile.source = command.value
        case "ADAPTER":
            if modelfile.adapter is not None:
                raise _at(
                    command.line, "one adapter can be added at a time: make a model with the first one, and FROM it"
                )
            modelfile.adapter = command.value
        case "PARAMETER":
            _apply_parameter(modelfile, command)
        case "DRAFT" | "TEMPLATE" | "SYSTEM":
            setattr(modelfile, command.name.lower(), command.value)
        case "LICENSE":
            modelfile.licenses.append(command.value)
        case "MESSAGE":
            modelfile.messages.append({"role": command.key, "content": command.value})
        case name:
            raise Unsupported(f"Modelfile, line {command.line}: {name} is not supported; {UNSUPPORTED[name]}.")


def _apply_parameter(modelfile: Modelfile, command: Command) -> None:
    name = command.key
    if name in FORMER:
        modelfile.warnings.append(f'line {command.line}: the parameter "{name}" has no effect any more.')
        return
    try:
        value = parse_parameter(name, [command.value])
    except InvalidOption as error:
        raise InvalidOption(f"Modelfile, line {command.line}: {error.message}") from None
    known = modelfile.parameters.get(name)
    modelfile.parameters[name] = [*known, *value] if isinstance(known, list) and isinstance(value, list) else value


def _at(line: int, message: str) -> BadRequest:
    return BadRequest(f"Modelfile, line {line}: {message}.")
