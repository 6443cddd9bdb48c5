"""The commands of the session that makes pictures. Pure: settings and a line in, settings and what to do out."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from paddock.cli.commands import Entry
from paddock.cli.picture_wish import DEFAULT_LOOK, Look
from paddock.errors import InvalidOption

HELP = """\
Describe a picture to make it. Name image files to work from them:
  ./cat.png in watercolours

Commands:
  /set width <pixels>       how wide (w)
  /set height <pixels>      how high (h)
  /set steps <number>       how many steps are made (s)
  /set seed <number>        the same seed gives the same picture
  /set negative <text>      what not to show (neg, n)
  /set guidance <number>    how closely to follow the description (g)
  /set strength <number>    how much of a given picture is made anew, up to 1
  /set <name>               leave it to the model again
  /show                     the settings
  /bye                      leave (also /exit and Ctrl+d)
  /?, /help                 this text

Ctrl+c stops a picture. Put \"\"\" around a description of several lines.
"""
SET_USAGE = f"Usage: /set <name> <value>, with {', '.join(asdict(DEFAULT_LOOK))} for a name\n"
_NAMES: Mapping[str, str] = MappingProxyType(
    {"w": "width", "h": "height", "s": "steps", "neg": "negative", "n": "negative", "g": "guidance"}
)
_LEFT_OUT: Mapping[str, str] = MappingProxyType({"seed": "drawn for each picture", "negative": "none"})
_MOST_DIGITS = 18


class PictureEffect(enum.Enum):
    """What the session has to do for a line, beyond taking over the settings and printing the reply."""

    NONE = "none"
    MAKE = "make"
    EXIT = "exit"


@dataclass(frozen=True)
class PictureSettings:
    """Everything that the session needs to know to make a picture."""

    model: str
    look: Look = DEFAULT_LOOK
    count: int = 1
    keep_alive: str | int | None = None
    is_verbose: bool = False
    keeps_history: bool = True


@dataclass(frozen=True)
class PictureStep:
    """The outcome of a line; `prompt` is what is to be made."""

    settings: PictureSettings
    reply: str = ""
    effect: PictureEffect = PictureEffect.NONE
    prompt: str = ""


def interpret(settings: PictureSettings, entry: Entry) -> PictureStep:
    """What an entry means: a command where it begins with a slash and is no path, else the description of a picture."""
    word, _, rest = entry.text.partition(" ")
    if entry.is_literal or not word.startswith("/") or "/" in word[1:]:
        has_text = bool(entry.text.strip())
        return PictureStep(settings, effect=PictureEffect.MAKE if has_text else PictureEffect.NONE, prompt=entry.text)
    command = _COMMANDS.get(word)
    if command is None:
        return PictureStep(settings, f"Unknown command '{word}'. Type /? for help\n")
    return command(settings, rest.strip())


def settings_text(look: Look) -> str:
    """The lines of /show."""
    return "".join(f"  {name:<10}{_shown(name, value)}\n" for name, value in asdict(look).items())


def _shown(name: str, value: object) -> str:
    return _LEFT_OUT.get(name, "the model's own") if value in (None, "") else str(value)


def _set(settings: PictureSettings, rest: str) -> PictureStep:
    word, _, text = rest.partition(" ")
    name, text = _NAMES.get(word, word), text.strip()
    if not word:
        return PictureStep(settings, SET_USAGE)
    if name not in _READERS:
        return PictureStep(settings, f"unknown option: {word} (try /help)\n")
    try:
        value = _READERS[name](name, text) if text else None
    except InvalidOption as error:
        return PictureStep(settings, f"{error.message}\n")
    changes: dict[str, Any] = {name: value}
    return PictureStep(
        replace(settings, look=replace(settings.look, **changes)), f"Set {name} to {_shown(name, value)}.\n"
    )


def _positive(name: str, text: str) -> int:
    if not re.fullmatch(rf"[1-9][0-9]{{0,{_MOST_DIGITS}}}", text):
        raise InvalidOption(f"{name} must be a positive integer")
    return int(text)


def _seed(name: str, text: str) -> int:
    if not re.fullmatch(rf"[0-9]{{1,{_MOST_DIGITS}}}", text):
        raise InvalidOption(f"{name} must be a whole number from 0 on")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InvalidOption(f"{name} must be a number from 0 on")
    return value


def _negative(name: str, text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1] if is_quoted else text


_READERS: Mapping[str, Callable[[str, str], int | float | str]] = MappingProxyType(
    {
        "width": _positive,
        "height": _positive,
        "steps": _positive,
        "seed": _seed,
        "negative": _negative,
        "guidance": _number,
        "strength": _number,
    }
)
_COMMANDS: Mapping[str, Callable[[PictureSettings, str], PictureStep]] = MappingProxyType(
    {
        "/set": _set,
        "/show": lambda settings, _: PictureStep(settings, settings_text(settings.look)),
        "/?": lambda settings, _: PictureStep(settings, HELP),
        "/help": lambda settings, _: PictureStep(settings, HELP),
        "/bye": lambda settings, _: PictureStep(settings, effect=PictureEffect.EXIT),
        "/exit": lambda settings, _: PictureStep(settings, effect=PictureEffect.EXIT),
    }
)
