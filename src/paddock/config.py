"""Every setting, read from the environment once and never changed afterwards.

Each has Paddock's own name and, as a fallback, Ollama's: `PADDOCK_KEEP_ALIVE`, else `OLLAMA_KEEP_ALIVE`.
Values are trimmed of spaces and quotes. A value that makes no sense is refused with one sentence, not guessed at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from paddock.errors import InvalidOption

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 11434
FOREVER = math.inf

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
    """The settings of one server."""

    address: Address = Address()
    home: Path = Path.home() / ".paddock"
    """Logs and the command line's history."""
    models: Path = Path.home() / ".paddock" / "models"
    """Root of the store."""
    keep_alive_seconds: float = 300.0
    load_timeout_seconds: float = 300.0
    """Longest time without progress while a model loads; `FOREVER` for none."""
    max_loaded_models: int = 0
    """0 leaves it to memory."""
    num_parallel: int = 1
    max_queue: int = 512
    context_length: int = 0
    """num_ctx where neither request nor model sets one; 0 chooses 4096, or the model's limit if smaller."""
    origins: tuple[str, ...] = ()
    is_debug: bool = False
    no_history: bool = False


class _Environment:
    """Reads a setting under Paddock's name, else Ollama's."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str = "") -> str:
        for prefix in ("PADDOCK_", "OLLAMA_"):
            value = self._variables.get(prefix + name, "").strip().strip("\"'")
            if value:
                return value
        return default

    def count(self, name: str, default: int) -> int:
        value = self.text(name)
        if not value:
            return default
        if not value.isascii() or not value.isdigit():
            raise InvalidOption(f'{name} must be a whole number, not "{value}".')
        return int(value)

    def seconds(self, name: str, default: float) -> float:
        """A duration or a number of seconds; negative is `FOREVER`."""
        value = self.text(name)
        if not value:
            return default
        try:
            seconds = float(value) if re.fullmatch(r"[+-]?\d+(\.\d+)?", value) else parse_duration(value)
        except ValueError as error:
            raise InvalidOption(f"{name}: {error}.") from None
        return FOREVER if seconds < 0 else seconds

    def flag(self, name: str) -> bool:
        """As Ollama reads booleans: anything but a plain no is a yes."""
        return self.text(name).lower() not in ("", "0", "f", "false", "no", "off")


def read_config(variables: Mapping[str, str]) -> Config:
    """The settings that these environment variables describe; InvalidOption names the first that makes no sense."""
    environment = _Environment(variables)
    home = Path(environment.text("HOME", str(Path.home() / ".paddock"))).expanduser()
    load_timeout = environment.seconds("LOAD_TIMEOUT", 300.0)
    return Config(
        address=parse_address(environment.text("HOST", DEFAULT_HOST)),
        home=home,
        models=Path(environment.text("MODELS", str(home / "models"))).expanduser(),
        keep_alive_seconds=environment.seconds("KEEP_ALIVE", 300.0),
        load_timeout_seconds=load_timeout or FOREVER,
        max_loaded_models=environment.count("MAX_LOADED_MODELS", 0),
        num_parallel=max(1, environment.count("NUM_PARALLEL", 1)),
        max_queue=environment.count("MAX_QUEUE", 512),
        context_length=environment.count("CONTEXT_LENGTH", 0),
        origins=tuple(part.strip() for part in environment.text("ORIGINS").split(",") if part.strip()),
        is_debug=environment.flag("DEBUG"),
        no_history=environment.flag("NOHISTORY"),
    )
