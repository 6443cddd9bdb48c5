"""Figures, times and tables as the commands print them. Pure: text in, text out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

PADDING = " " * 4
FOREVER_YEARS = 20
"""Further ahead than this is "Forever": the API has no other way to say it."""

_DAY_SECONDS = 24 * 3600
_DROPPED_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """`text` without the control characters that could move a terminal's cursor or change its state."""
    return text.translate(_DROPPED_CONTROLS)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, four spaces apart, without borders and without spaces at the ends of lines."""
    lines = [list(headers), *(list(row) for row in rows)]
    return "".join(f"{line}\n" for line in _aligned(lines))


def section(title: str, rows: Sequence[Sequence[str]]) -> str:
    """A titled part of `paddock show`: the rows indented below the title, then an empty line."""
    body = "".join(f"{PADDING}{line}\n" for line in _aligned([list(row) for row in rows]))
    return f"  {title}\n{body}\n"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    columns = max((len(line) for line in lines), default=0)
    widths = [max(len(line[column]) for line in lines if column < len(line)) for column in range(columns)]
    return [
        PADDING.join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines
    ]


BAR_CELLS = 50


def bar(total: int, parts: Sequence[tuple[str, int]], cells: int = BAR_CELLS) -> str:
    """A line of `cells` letters: each part's in proportion, at least one of what there is any of, dots for the rest."""
    drawn = ""
    for letter, size in parts:
        wanted = round(size / max(1, total) * cells)
        drawn += letter * min(max(wanted, 1 if size > 0 else 0), cells - len(drawn))
    return drawn.ljust(cells, ".")


def human_bytes(size_bytes: int) -> str:
    """A size in decimal units, as Ollama writes it: one digit after the point below ten, none from there on."""
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size_bytes >= scale:
            value = size_bytes / scale
            return f"{value:.1f} {unit}" if value < 10 and value != int(value) else f"{int(value)} {unit}"
    return f"{size_bytes} B"


def human_number(count: int) -> str:
    """A count of parameters, as Ollama writes it: 7B, 1.5B, 124.44M, 83K."""
    for unit, scale, digits in (("B", 10**9, 1), ("M", 10**6, 2), ("K", 10**3, 0)):
        if count >= scale:
            value = count / scale
            return f"{value:.0f}{unit}" if value == int(value) else f"{value:.{digits}f}{unit}"
    return str(count)


def human_time(moment: datetime, now: datetime, never: str = "Never") -> str:
    """How long ago, or from now, in one unit; `never` for the zero time of Go's clock (year 1)."""
    if moment.year <= 1:
        return never
    seconds = (now - moment).total_seconds()
    if seconds < -FOREVER_YEARS * 365 * _DAY_SECONDS:
        return "Forever"
    return f"{_human_seconds(-seconds)} from now" if seconds < 0 else f"{_human_seconds(seconds)} ago"


def _human_seconds(seconds: float) -> str:
    hours = math.floor(seconds / 3600 + 0.5)
    days = hours // 24
    choices = (
        (seconds < 1, "Less than a second"),
        (seconds < 2, "1 second"),
        (seconds < 60, f"{int(seconds)} seconds"),
        (seconds < 120, "About a minute"),
        (seconds < 3600, f"{int(seconds / 60)} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (days < 14, f"{days} days"),
        (days < 60, f"{days // 7} weeks"),
        (days < 730, f"{days // 30} months"),
    )
    return next((text for holds, text in choices if holds), f"{days // 365} years")


def until(expires_at: datetime, now: datetime) -> str:
    """When a loaded model goes; one that is past its time is on its way out."""
    if expires_at.year > 1 and expires_at <= now:
        return "Stopping..."
    return human_time(expires_at, now)


def processor(size_bytes: int, vram_bytes: int) -> str:
    """Where a loaded model lives, from the two sizes of /api/ps."""
    if vram_bytes == 0:
        return "100% CPU"
    if vram_bytes == size_bytes:
        return "100% GPU"
    if vram_bytes > size_bytes:
        return "Unknown"
    cpu_percent = math.floor((size_bytes - vram_bytes) / size_bytes * 100 + 0.5)
    return f"{cpu_percent}%/{100 - cpu_percent}% CPU/GPU"


def go_duration(nanoseconds: int) -> str:
    """A duration as Go prints it: 1m2.5s, 12.34ms, 800ns."""
    for unit, scale in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if nanoseconds < scale * 1000:
            return "0s" if nanoseconds == 0 else _decimal(nanoseconds, scale) + unit
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    ahead = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{ahead}{_decimal(rest, 10**9)}s"


def _decimal(value: int, scale: int) -> str:
    whole, rest = divmod(value, scale)
    digits = f"{rest:0{len(str(scale)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def timings(last: Mapping[str, Any]) -> str:
    """The lines of --verbose, from the last chunk of an answer; a figure of zero has no line."""
    lines = []
    for label, key in (("total duration", "total_duration"), ("load duration", "load_duration")):
        if last.get(key):
            lines.append((label, go_duration(last[key])))
    for label in ("prompt eval", "eval"):
        key = label.replace(" ", "_")
        count, duration = last.get(f"{key}_count", 0), last.get(f"{key}_duration", 0)
        if count:
            lines.append((f"{label} count", f"{count} token(s)"))
        if duration:
            lines.append((f"{label} duration", go_duration(duration)))
            lines.append((f"{label} rate", f"{count / duration * 1e9:.2f} tokens/s"))
    return "".join(f"{label + ':':<22}{value}\n" for label, value in lines)
