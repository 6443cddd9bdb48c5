"""Lines of the log: as text for people, or as one JSON object each for machines.

Whatever is logged as `event=load model=%s seconds=%.3f` has fields: in text they stand in the message, in JSON each is
a member of its own with its own type.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

_CONVERSION = r"%[-+ #0]*\d*(?:\.\d+)?[a-zA-Z]"
_FIELD = re.compile(rf"(\w+)=({_CONVERSION}|'[^']*'|\S+)")
_ESCAPED_PERCENT = "%%"
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
"""Of characters that would begin a line of their own, or move the cursor of a terminal."""


def configure_logs(*, is_debug: bool, form: str, request_id: Callable[[], str]) -> None:
    """Log to stderr from here on, as "text" or "json". `request_id` is that of the request that a task works for."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(_Belonging(request_id))
    logging.basicConfig(level=logging.DEBUG if is_debug else logging.INFO, handlers=[handler])
    # Its warnings are about requests that are none: whoever sends many of them is not to fill the log.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


class _Belonging(logging.Filter):
    """Notes in each record which request it was written for."""

    def __init__(self, request_id: Callable[[], str]) -> None:
        super().__init__()
        self._request_id = request_id

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = self._request_id()
        return True


class TextLines(logging.Formatter):
    """Time, level, who says it, what; and at the end for which request."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s  %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        request_id = getattr(record, "request_id", "")
        record.message = record.message.translate(_ESCAPES)
        return super().formatMessage(record) + (f" request_id={request_id}" if request_id else "")


class JsonLines(logging.Formatter):
    """`time` (RFC 3339, UTC), `level`, `logger`, `message`, `request_id`, `exception`, and the fields of an event."""

    def format(self, record: logging.LogRecord) -> str:
        """One object, on one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", ""):
            line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode({**fields_of(record), **line}).decode()


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of an event: its arguments by the names that stand before them, as numbers where they are numbers.

    Nothing for a message that is no event, or whose arguments do not all have names.
    """
    form, values = record.msg, record.args
    if not isinstance(form, str) or not form.startswith("event=") or not isinstance(values, tuple):
        return {}
    form = form.replace(_ESCAPED_PERCENT, "")
    named = _FIELD.findall(form)
    if not len(re.findall(_CONVERSION, form)) == sum(part.startswith("%") for _, part in named) == len(values):
        return {}
    rest = iter(values)
    return {name: _value(part, next(rest)) if part.startswith("%") else part.strip("'") for name, part in named}


def _value(conversion: str, value: object) -> object:
    """As the text has it, but of its own type."""
    if conversion.endswith("r"):
        return value if isinstance(value, str | int | float) else repr(value)
    if conversion.endswith(("d", "f", "g")) and isinstance(value, int | float):
        return int(value) if conversion.endswith("d") else float(conversion % value)
    return conversion % value
