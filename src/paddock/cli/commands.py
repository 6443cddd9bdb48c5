"""The commands of the interactive session. Pure: settings and a line in, settings, a reply and an effect out."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from paddock.cli.parameters import FLAGS, INTEGERS, LISTS, NUMBERS, Value, parse_parameter
from paddock.errors import InvalidOption

THINK_LEVELS = ("high", "medium", "low", "max")
SHOWN = ("info", "license", "modelfile", "parameters", "system", "template")

HELP = """\
Commands:
  /set            change a setting of this session
  /show           show what the model is made of
  /load <model>   go on with another model, in a new conversation
  /save <model>   keep this conversation and its settings as a model
  /clear          forget the conversation
  /list           list the models
  /bye            leave (also /exit and Ctrl+d)
  /?, /help       this text; more: /? set, /? show, /? shortcuts

Put \"\"\" around a message of several lines.
"""
SET_HELP = """\
Settings:
  /set parameter <name> <value>   a parameter of the model
  /set system <text>              the system message
  /set history, nohistory         whether your lines are kept for the next session
  /set wordwrap, nowordwrap       whether lines break between words
  /set format json, noformat      whether the answer must be JSON
  /set verbose, quiet             whether timings follow each answer
  /set think [level], nothink     whether the model thinks before it answers
"""
SHOW_HELP = """\
Facts:
  /show info         the overview
  /show license      its license
  /show modelfile    the Modelfile that would make it
  /show parameters   its parameters, and those of this session
  /show system       its system message
  /show template     its prompt template
"""
SHORTCUTS_HELP = """\
Keys:
  Ctrl+a, Ctrl+e     to the beginning, the end of the line
  Alt+b, Alt+f       back, forward by a word
  Ctrl+k, Ctrl+u     delete to the end, the beginning of the line
  Ctrl+w             delete the word before the cursor
  Ctrl+g             edit the line in $EDITOR
  Ctrl+l             clear the screen
  Ctrl+c             stop the answer
  Ctrl+d             leave
"""
PARAMETER_HELP = f"""\
Usage: /set parameter <name> <value>
  whole numbers:  {" ".join(sorted(INTEGERS))}
  numbers:        {" ".join(sorted(NUMBERS))}
  true or false:  {" ".join(sorted(FLAGS))}
  texts:          {" ".join(sorted(LISTS))}
"""


class Effect(enum.Enum):
    """What the session has to do for a line, beyond taking over the settings and printing the reply."""

    NONE = "none"
    ASK = "ask"
    SHOW = "show"
    LOAD = "load"
    SAVE = "save"
    LIST = "list"
    EXIT = "exit"


@dataclass(frozen=True)
class Settings:
    """Everything that the commands of a session can change."""

    model: str
    parameters: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    system: str | None = None
    format: Any = None
    think: bool | str | None = None
    hides_thinking: bool = False
    wraps: bool = True
    is_verbose: bool = False
    keeps_history: bool = True
    keep_alive: str | int | None = None
    messages: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Step:
    """The outcome of a line. `argument` is what the effect is about: the message, the model, the part to show."""

    settings: Settings
    reply: str = ""
    effect: Effect = Effect.NONE
    argument: str = ""


@dataclass(frozen=True)
class Entry:
    """What the user entered; a literal one was in triple quotes and is never a command."""

    text: str
    is_literal: bool = False


class Lines:
    """Gathers lines into entries: one line each, or all from an opening to a closing triple quote."""

    def __init__(self) -> None:
        self._open: list[str] = []

    @property
    def is_open(self) -> bool:
        """Whether the next line goes on with a quoted text."""
        return bool(self._open)

    def feed(self, line: str) -> Entry | None:
        """The entry that this line completes, if it does."""
        if not self._open and not re.match(r'\s*(/set\s+system\s+)?"""', line):
            return Entry(line.strip())
        self._open.append(line)
        text = "\n".join(self._open).strip()
        if not text.endswith('"""') or text.count('"""') < 2:
            return None
        self.clear()
        return Entry(text) if text.startswith("/") else Entry(text[3:-3], is_literal=True)

    def clear(self) -> None:
        """Forget what was begun."""
        self._open.clear()


def interpret(settings: Settings, entry: Entry) -> Step:
    """What an entry means: a command where it begins with a slash, else a message for the model."""
    if entry.is_literal or not entry.text.startswith("/"):
        return Step(settings, effect=Effect.ASK, argument=entry.text) if entry.text.strip() else Step(settings)
    word, _, rest = entry.text.partition(" ")
    command = _COMMANDS.get(word)
    return command(settings, rest.strip()) if command else _unknown(settings, word)


def _unknown(settings: Settings, command: str) -> Step:
    return Step(settings, f"Unknown command '{command}'. Type /? for help\n")


def _help(settings: Settings, rest: str) -> Step:
    topics = {"set": SET_HELP, "/set": SET_HELP, "show": SHOW_HELP, "/show": SHOW_HELP, "shortcuts": SHORTCUTS_HELP}
    return Step(settings, topics.get(rest, HELP))


def _clear(settings: Settings, rest: str) -> Step:
    return Step(replace(settings, messages=()), "Cleared session context\n")


def _show(settings: Settings, rest: str) -> Step:
    if not rest:
        return Step(settings, SHOW_HELP)
    return Step(settings, effect=Effect.SHOW, argument=rest) if rest in SHOWN else _unknown(settings, f"/show {rest}")


def _named(effect: Effect, usage: str) -> Callable[[Settings, str], Step]:
    def command(settings: Settings, rest: str) -> Step:
        is_name = len(rest.split()) == 1
        return Step(settings, effect=effect, argument=rest) if is_name else Step(settings, f"Usage: {usage}\n")

    return command


def _plain(effect: Effect) -> Callable[[Settings, str], Step]:
    return lambda settings, rest: Step(settings, effect=effect)


def _set(settings: Settings, rest: str) -> Step:
    if not rest:
        return Step(settings, SET_HELP)
    word, _, value = rest.partition(" ")
    value = value.strip()
    if word in _SWITCHES and not value:
        changes, reply = _SWITCHES[word]
        return Step(replace(settings, **changes), f"{reply}\n")
    setter = _SETTERS.get(word)
    return setter(settings, value) if setter else _unknown(settings, f"/set {rest}")


def _set_parameter(settings: Settings, rest: str) -> Step:
    name, *values = rest.split() or [""]
    if not values:
        return Step(settings, PARAMETER_HELP)
    try:
        value = parse_parameter(name, values)
    except InvalidOption as error:
        return Step(settings, f"{error.message}\n")
    parameters = MappingProxyType({**settings.parameters, name: value})
    return Step(replace(settings, parameters=parameters), f"Set parameter '{name}' to '{', '.join(values)}'\n")


def _set_system(settings: Settings, text: str) -> Step:
    for quotes in ('"""', '"'):
        if text.startswith(quotes) and text.endswith(quotes) and len(text) >= 2 * len(quotes):
            text = text[len(quotes) : -len(quotes)]
            break
    if not text:
        return Step(settings, "Usage: /set system <text>\n")
    return Step(replace(settings, system=text), "Set system message.\n")


def _set_format(settings: Settings, value: str) -> Step:
    if value != "json":
        return Step(settings, "The only format is 'json': /set format json\n")
    return Step(replace(settings, format="json"), "Set format to 'json' mode.\n")


def _set_think(settings: Settings, level: str) -> Step:
    if level not in ("", *THINK_LEVELS):
        return Step(settings, f"The level must be one of {', '.join(THINK_LEVELS)}: /set think high\n")
    reply = f"Set 'think' mode to '{level}'.\n" if level else "Set 'think' mode.\n"
    return Step(replace(settings, think=level or True), reply)


_SWITCHES: Mapping[str, tuple[dict[str, Any], str]] = MappingProxyType(
    {
        "history": ({"keeps_history": True}, "Set 'history' mode."),
        "nohistory": ({"keeps_history": False}, "Set 'nohistory' mode."),
        "wordwrap": ({"wraps": True}, "Set 'wordwrap' mode."),
        "nowordwrap": ({"wraps": False}, "Set 'nowordwrap' mode."),
        "verbose": ({"is_verbose": True}, "Set 'verbose' mode."),
        "quiet": ({"is_verbose": False}, "Set 'quiet' mode."),
        "noformat": ({"format": None}, "Disabled format."),
        "nothink": ({"think": False}, "Set 'nothink' mode."),
    }
)
_SETTERS: Mapping[str, Callable[[Settings, str], Step]] = MappingProxyType(
    {"parameter": _set_parameter, "system": _set_system, "format": _set_format, "think": _set_think}
)
_COMMANDS: Mapping[str, Callable[[Settings, str], Step]] = MappingProxyType(
    {
        "/set": _set,
        "/show": _show,
        "/load": _named(Effect.LOAD, "/load <model>"),
        "/save": _named(Effect.SAVE, "/save <model>"),
        "/clear": _clear,
        "/list": _plain(Effect.LIST),
        "/bye": _plain(Effect.EXIT),
        "/exit": _plain(Effect.EXIT),
        "/?": _help,
        "/help": _help,
    }
)
