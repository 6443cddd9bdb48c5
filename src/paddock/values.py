"""How people write values: durations, sizes, addresses, lists. A reader (`read_…`) takes a text and, where it makes no
sense raises ValueError with a clause that says why."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from paddock.errors import InvalidOption

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 11434
DEFAULT_REGISTRY = "registry.ollama.ai"
FOREVER = math.inf
LOG_FORMATS = ("text", "json")
KV_CACHE_TYPES = ("f16", "q8_0", "q4_0")
"""Ollama's names; f16 stands for the model's own numbers."""

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}(?::[0-9]{1,5})?")
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


def read_count(text: str) -> int:
    """A whole number, not below 0."""
    if not text.isascii() or not text.isdigit():
        raise ValueError(f'must be a whole number, not "{text}"')
    return int(text)


def read_seconds(text: str) -> float:
    """A duration or a number of seconds; negative is `FOREVER`."""
    seconds = float(text) if re.fullmatch(r"[+-]?\d+(\.\d+)?", text) else parse_duration(text)
    return FOREVER if seconds < 0 else seconds


def read_timeout(text: str) -> float:
    """As `read_seconds`, but 0 is `FOREVER`."""
    return read_seconds(text) or FOREVER


_UNIT_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def read_bytes(text: str) -> int:
    """A number of bytes, or a size with a unit."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-zA-Z]*)", text)
    if not found or found[2].lower() not in _UNIT_BYTES:
        raise ValueError(f'must be a number of bytes, or a size such as "8GB" or "512MiB", not "{text}"')
    return int(float(found[1]) * _UNIT_BYTES[found[2].lower()])


def read_automatic_bytes(text: str) -> int | None:
    """As `read_bytes`; None for "auto"."""
    return None if text.lower() == "auto" else read_bytes(text)


def read_kv_cache_type(text: str) -> str:
    """One of `KV_CACHE_TYPES`."""
    if text.lower() not in KV_CACHE_TYPES:
        raise ValueError(f'must be one of {", ".join(KV_CACHE_TYPES)}, not "{text}"')
    return text.lower()


def read_log_format(text: str) -> str:
    """One of `LOG_FORMATS`."""
    if text.lower() not in LOG_FORMATS:
        raise ValueError(f'must be one of {", ".join(LOG_FORMATS)}, not "{text}"')
    return text.lower()


def read_registry(text: str) -> str:
    """A host with perhaps a port, `http://` or `https://` before it where that is said; or `off`."""
    if text.lower() == "off":
        return "off"
    scheme, separator, rest = text.rpartition("://")
    host = rest.rstrip("/")
    if not _HOST_AND_PORT.fullmatch(host) or (separator and scheme.lower() not in ("http", "https")):
        raise ValueError(f'must be a host such as {DEFAULT_REGISTRY}, or off, not "{text}"')
    return f"{scheme.lower()}{separator}{host}"


def read_flag(text: str) -> bool:
    """As Ollama reads booleans: anything but a plain no is a yes."""
    return text.lower() not in ("", "0", "f", "false", "no", "off")


def read_list(text: str) -> tuple[str, ...]:
    """What stands between commas, without spaces and empty parts."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def read_folder(text: str) -> Path:
    """A path; `~` is the user's home."""
    return Path(text).expanduser()
