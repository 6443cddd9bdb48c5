"""Every setting, in one table: read from the environment once and never changed afterwards.

Each has Paddock's own name and, where Ollama has it too, that as a fallback: `PADDOCK_KEEP_ALIVE`, else
`OLLAMA_KEEP_ALIVE`.
Values are trimmed of spaces and quotes. A value that makes no sense is refused with one sentence, not guessed at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from paddock.errors import InvalidOption

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 11434
FOREVER = math.inf
KV_CACHE_TYPES = ("f16", "q8_0", "q4_0")
"""Ollama's names; f16 stands for the model's own numbers."""

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"[+-]?(?:{_PART})+")
_DURATION_PART = re.compile(r"([0-9.]+)([^0-9.]+)")


def parse_duration(text: str) -> float:
    """Seconds of a Go duration ("5m", "1h30m", "300ms", "0"); negative ones are `FOREVER`. ValueError otherwise."""
    text = text.strip()
    if text in ("0", "+0", "-0"):
        return 0.0
    if not _DURATION.fullmatch(text):
        raise ValueError(f'"{text}" is not a duration such as "5m", "1h30m" or "300ms"')
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    return FOREVER if seconds and text.startswith("-") else seconds


def parse_keep_alive(value: object) -> float:
    """Seconds that a model stays after its last request, as clients write it (Ollama's `keep_alive`).

    Numbers are seconds, strings Go durations, negative ones `FOREVER`, 0 unloads when idle. ValueError otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f'keep_alive must be a number of seconds or a duration such as "5m", not {value!r}')
    if isinstance(value, str):
        return parse_duration(value)
    if not math.isfinite(value):
        raise ValueError("keep_alive must be a finite number of seconds")
    return FOREVER if value < 0 else float(value)


@dataclass(frozen=True)
class Address:
    """Where the server listens, or where a client finds it."""

    scheme: str = "http"
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    path: str = ""

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end. A wildcard host is reached through loopback."""
        host = {"0.0.0.0": DEFAULT_HOST, "::": "::1"}.get(self.host, self.host)
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{self.path}"


def parse_address(text: str) -> Address:
    """An address as Ollama's users write it: `host`, `host:port`, `:port`, `[::1]:port`, `http://host`.

    Without a scheme the port is 11434 by default, with one it is the scheme's own (reference: Ollama's OLLAMA_HOST).
    """
    text = text.strip().strip("\"'")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    if scheme not in ("http", "https"):
        raise InvalidOption(f'"{text}" is not an address: only http and https are known.')
    default_port = DEFAULT_PORT if not separator else {"http": 80, "https": 443}[scheme]
    if rest.count(":") > 1 and not rest.startswith("["):
        rest = f"[{rest}]"
    try:
        parts = urlsplit(f"//{rest}")
        port = parts.port if parts.port is not None else default_port
    except ValueError:
        raise InvalidOption(f'"{text}" is not an address such as 127.0.0.1:11434.') from None
    return Address(scheme=scheme, host=parts.hostname or DEFAULT_HOST, port=port, path=parts.path.rstrip("/"))


@dataclass(frozen=True)
class Config:
    """The settings of one server; `SETTINGS` says what each means and what it is read from."""

    address: Address = Address()
    home: Path = Path.home() / ".paddock"
    models: Path = Path.home() / ".paddock" / "models"
    keep_alive_seconds: float = 300.0
    load_timeout_seconds: float = 300.0
    """`FOREVER` for none."""
    max_loaded_models: int = 0
    num_parallel: int = 0
    max_queue: int = 512
    context_length: int = 0
    kv_cache_type: str = ""
    """Empty: the model's own numbers, or fewer bits where a model would not fit otherwise."""
    prefix_cache_bytes: int | None = None
    """None: as much as suits the model."""
    memory_limit_bytes: int = 0
    gpu_overhead_bytes: int = 0
    origins: tuple[str, ...] = ()
    breaker_crashes: int = 3
    breaker_window_seconds: float = 60.0
    breaker_pause_seconds: float = 10.0
    warm_spare: bool = True
    fast_blas: bool = True
    is_debug: bool = False
    no_history: bool = False


Read = Callable[[str], object]
"""Turns what a variable says into the setting; ValueError, with a clause that says why, where it makes no sense."""


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f'must be a whole number, not "{text}"')
    return int(text)


def _seconds(text: str) -> float:
    """A duration or a number of seconds; negative is `FOREVER`."""
    seconds = float(text) if re.fullmatch(r"[+-]?\d+(\.\d+)?", text) else parse_duration(text)
    return FOREVER if seconds < 0 else seconds


def _timeout(text: str) -> float:
    return _seconds(text) or FOREVER


_UNIT_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-zA-Z]*)", text)
    if not found or found[2].lower() not in _UNIT_BYTES:
        raise ValueError(f'must be a number of bytes, or a size such as "8GB" or "512MiB", not "{text}"')
    return int(float(found[1]) * _UNIT_BYTES[found[2].lower()])


def _automatic_bytes(text: str) -> int | None:
    return None if text.lower() == "auto" else _bytes(text)


def _kv_cache_type(text: str) -> str:
    if text.lower() not in KV_CACHE_TYPES:
        raise ValueError(f'must be one of {", ".join(KV_CACHE_TYPES)}, not "{text}"')
    return text.lower()


def _flag(text: str) -> bool:
    """As Ollama reads booleans: anything but a plain no is a yes."""
    return text.lower() not in ("", "0", "f", "false", "no", "off")


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _folder(text: str) -> Path:
    return Path(text).expanduser()


@dataclass(frozen=True)
class Setting:
    """One row of the table: where a setting is read from, what it is without that, and what it means."""

    field: str
    """Of `Config`."""
    name: str
    """Of the environment variable, after PADDOCK_."""
    default: str
    """As one would write it; empty for none."""
    meaning: str
    read: Read
    is_ollamas: bool = True
    """Whether Ollama's variable of that name is read where Paddock's is not set."""

    @property
    def variable(self) -> str:
        """Paddock's own name of it."""
        return f"PADDOCK_{self.name}"

    @property
    def fallback(self) -> str:
        """Ollama's name of it, or nothing."""
        return f"OLLAMA_{self.name}" if self.is_ollamas else ""


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "address", "HOST", "127.0.0.1:11434", "where the server listens, and where commands look for it", parse_address
    ),
    Setting("home", "HOME", "~/.paddock", "logs and the command line's history", _folder, is_ollamas=False),
    Setting(
        "models",
        "MODELS",
        "~/.paddock/models",
        "the store; it lies in `PADDOCK_HOME` unless this says otherwise",
        _folder,
    ),
    Setting(
        "keep_alive_seconds",
        "KEEP_ALIVE",
        "5m",
        "how long an idle model stays: a duration or seconds; negative is forever, 0 not at all",
        _seconds,
    ),
    Setting(
        "load_timeout_seconds",
        "LOAD_TIMEOUT",
        "5m",
        "longest time without progress while a model loads; 0 is no limit",
        _timeout,
    ),
    Setting(
        "context_length",
        "CONTEXT_LENGTH",
        "0",
        "tokens of context where neither the request nor the model says; 0 takes 4096, from 23 GiB of accelerator "
        "memory on 32768, from 47 GiB on 262144, as far as the model goes and a quarter of that memory holds it, and "
        "may lower that to 4096 to save memory",
        _count,
    ),
    Setting(
        "kv_cache_type",
        "KV_CACHE_TYPE",
        "",
        "how the context is kept: `f16` in the model's own numbers, `q8_0` or `q4_0` in 8 or 4 bits where its "
        "attention can read them; unset it is the first, and the second where a model would not fit otherwise",
        _kv_cache_type,
    ),
    Setting(
        "prefix_cache_bytes",
        "PREFIX_CACHE",
        "auto",
        "what each model may keep of earlier prompts, as `2GB`; `auto` is one full context, an eighth of the memory "
        "and 8 GiB at most, and nothing where a model would not fit otherwise",
        _automatic_bytes,
        is_ollamas=False,
    ),
    Setting(
        "num_parallel",
        "NUM_PARALLEL",
        "0",
        "requests that one model answers at once; 0 takes 4, or fewer where their contexts would need too much memory",
        _count,
    ),
    Setting("max_loaded_models", "MAX_LOADED_MODELS", "0", "models loaded at once; 0 leaves it to memory", _count),
    Setting("max_queue", "MAX_QUEUE", "512", "requests that may wait; the next is answered 503", _count),
    Setting(
        "memory_limit_bytes",
        "MEMORY_LIMIT",
        "0",
        "what all models and the spare process may hold of each memory together, as `8GB`; 0 takes what there is",
        _bytes,
        is_ollamas=False,
    ),
    Setting("gpu_overhead_bytes", "GPU_OVERHEAD", "0", "left free on each accelerator, in bytes or as `2GB`", _bytes),
    Setting(
        "warm_spare",
        "WARM_SPARE",
        "1",
        "keep one process ready for the next model, where memory allows: a swap then costs its weights only",
        _flag,
        is_ollamas=False,
    ),
    Setting(
        "breaker_crashes",
        "BREAKER_CRASHES",
        "3",
        "crashes of one model within the window after which it is not started for a while; 0 is never",
        _count,
        is_ollamas=False,
    ),
    Setting(
        "breaker_window_seconds",
        "BREAKER_WINDOW",
        "60s",
        "the window in which crashes are counted",
        _seconds,
        is_ollamas=False,
    ),
    Setting(
        "breaker_pause_seconds",
        "BREAKER_PAUSE",
        "10s",
        "the first while; it doubles with each further crash, up to ten minutes",
        _seconds,
        is_ollamas=False,
    ),
    Setting(
        "fast_blas",
        "BLAS",
        "on",
        "`off` leaves MLX its own BLAS on a Linux CPU, in place of OpenBLAS",
        _flag,
        is_ollamas=False,
    ),
    Setting("origins", "ORIGINS", "", "further origins that may call from a browser, separated by commas", _list),
    Setting("is_debug", "DEBUG", "", "`1` logs more", _flag),
    Setting("no_history", "NOHISTORY", "", "`1` keeps no history of conversations", _flag),
)
"""Every setting there is, in the order of the documentation."""


def read_config(variables: Mapping[str, str]) -> Config:
    """The settings that these environment variables describe; InvalidOption names the first that makes no sense."""
    found = {setting.field: value for setting in SETTINGS if (value := _value(setting, variables)) is not None}
    if "home" in found and "models" not in found:
        found["models"] = cast(Path, found["home"]) / "models"
    return Config(**found)  # type: ignore[arg-type]


def _value(setting: Setting, variables: Mapping[str, str]) -> object:
    """None: it is not set, or to nothing."""
    for name in filter(None, (setting.variable, setting.fallback)):
        if text := variables.get(name, "").strip().strip("\"'"):
            try:
                return setting.read(text)
            except ValueError as error:
                raise InvalidOption(f"{setting.name}: {error}.") from None
    return None


def settings_table() -> str:
    """All settings as a table of Markdown, for the documentation."""
    rows = [
        "| Variable | Ollama's name | Default | Meaning |",
        "|---|---|---|---|",
        *(
            f"| `{setting.variable}` | {f'`{setting.fallback}`' if setting.fallback else ''} "
            f"| {f'`{setting.default}`' if setting.default else ''} | {setting.meaning} |"
            for setting in SETTINGS
        ),
    ]
    return "\n".join(rows) + "\n"


def settings_help() -> str:
    """All settings as paragraphs for a terminal."""
    lines = (
        f"{setting.variable}: {setting.meaning.replace('`', '')}"
        f"{f' (default: {setting.default})' if setting.default else ''}."
        for setting in SETTINGS
    )
    return "\n\n".join(("Settings are environment variables:", *lines))
