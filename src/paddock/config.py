"""Every setting, in one table: read from the environment once and never changed afterwards.

Each has Paddock's own name and, where Ollama has it too, that as a fallback: `PADDOCK_KEEP_ALIVE`, else
`OLLAMA_KEEP_ALIVE`.
Values are trimmed of spaces and quotes. A value that makes no sense is refused with one sentence, not guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from paddock.errors import InvalidOption
from paddock.values import (
    DEFAULT_REGISTRY,
    FOREVER,
    Address,
    parse_address,
    parse_duration,
    parse_keep_alive,
    read_automatic_bytes,
    read_bytes,
    read_count,
    read_flag,
    read_folder,
    read_kv_cache_type,
    read_list,
    read_log_format,
    read_registry,
    read_seconds,
    read_timeout,
)

__all__ = [
    "FOREVER",
    "SETTINGS",
    "Address",
    "Config",
    "Setting",
    "parse_address",
    "parse_duration",
    "parse_keep_alive",
    "read_config",
    "settings_help",
    "settings_table",
]


@dataclass(frozen=True)
class Config:
    """The settings of one server; `SETTINGS` says what each means and what it is read from."""

    address: Address = field(default_factory=Address)
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
    hosts: tuple[str, ...] = ()
    require_key: bool | None = None
    """None: where other machines can reach the server."""
    max_connections: int = 1024
    body_memory_bytes: int = 256 * 1024**2
    api_key: str = field(default="", repr=False)
    breaker_crashes: int = 3
    breaker_window_seconds: float = 60.0
    breaker_pause_seconds: float = 10.0
    warm_spare: bool = True
    fast_blas: bool = True
    is_debug: bool = False
    log_format: str = "text"
    no_history: bool = False
    registry: str = DEFAULT_REGISTRY
    """A host or a URL, or `off`."""


Read = Callable[[str], object]
"""Turns what a variable says into the setting; ValueError, with a clause that says why, where it makes no sense."""


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
    Setting(
        "home", "HOME", "~/.paddock", "logs, API keys and the command line's history", read_folder, is_ollamas=False
    ),
    Setting(
        "models",
        "MODELS",
        "~/.paddock/models",
        "the store; it lies in `PADDOCK_HOME` unless this says otherwise",
        read_folder,
    ),
    Setting(
        "keep_alive_seconds",
        "KEEP_ALIVE",
        "5m",
        "how long an idle model stays: a duration or seconds; negative is forever, 0 not at all",
        read_seconds,
    ),
    Setting(
        "load_timeout_seconds",
        "LOAD_TIMEOUT",
        "5m",
        "longest time without progress while a model loads; 0 is no limit",
        read_timeout,
    ),
    Setting(
        "context_length",
        "CONTEXT_LENGTH",
        "0",
        "tokens of context where neither the request nor the model says; 0 takes 4096, from 23 GiB of accelerator "
        "memory on 32768, from 47 GiB on 262144, as far as the model goes and a quarter of that memory holds it, and "
        "may lower that to 4096 to save memory",
        read_count,
    ),
    Setting(
        "kv_cache_type",
        "KV_CACHE_TYPE",
        "",
        "how the context is kept: `f16` in the model's own numbers, `q8_0` or `q4_0` in 8 or 4 bits where its "
        "attention can read them; unset it is the first, and the second where a model would not fit otherwise",
        read_kv_cache_type,
    ),
    Setting(
        "prefix_cache_bytes",
        "PREFIX_CACHE",
        "auto",
        "what each model may keep of earlier prompts, as `2GB`; `auto` is one full context, an eighth of the memory "
        "and 8 GiB at most, and nothing where a model would not fit otherwise",
        read_automatic_bytes,
        is_ollamas=False,
    ),
    Setting(
        "num_parallel",
        "NUM_PARALLEL",
        "0",
        "requests that one model answers at once; 0 takes 4, or fewer where their contexts would need too much memory",
        read_count,
    ),
    Setting("max_loaded_models", "MAX_LOADED_MODELS", "0", "models loaded at once; 0 leaves it to memory", read_count),
    Setting("max_queue", "MAX_QUEUE", "512", "requests that may wait; the next is answered 503", read_count),
    Setting(
        "memory_limit_bytes",
        "MEMORY_LIMIT",
        "0",
        "what all models and the spare process may hold of each memory together, as `8GB`; 0 takes what there is",
        read_bytes,
        is_ollamas=False,
    ),
    Setting(
        "gpu_overhead_bytes", "GPU_OVERHEAD", "0", "left free on each accelerator, in bytes or as `2GB`", read_bytes
    ),
    Setting(
        "warm_spare",
        "WARM_SPARE",
        "1",
        "keep one process ready for the next model, where memory allows: a swap then costs its weights only",
        read_flag,
        is_ollamas=False,
    ),
    Setting(
        "breaker_crashes",
        "BREAKER_CRASHES",
        "3",
        "crashes of one model within the window after which it is not started for a while; 0 is never",
        read_count,
        is_ollamas=False,
    ),
    Setting(
        "breaker_window_seconds",
        "BREAKER_WINDOW",
        "60s",
        "the window in which crashes are counted",
        read_seconds,
        is_ollamas=False,
    ),
    Setting(
        "breaker_pause_seconds",
        "BREAKER_PAUSE",
        "10s",
        "the first while; it doubles with each further crash, up to ten minutes",
        read_seconds,
        is_ollamas=False,
    ),
    Setting(
        "fast_blas",
        "BLAS",
        "on",
        "`off` leaves MLX its own BLAS on a Linux CPU, in place of OpenBLAS",
        read_flag,
        is_ollamas=False,
    ),
    Setting("origins", "ORIGINS", "", "further origins that may call from a browser, separated by commas", read_list),
    Setting(
        "hosts",
        "HOSTS",
        "",
        "further names by which clients may call the server, separated by commas, such as `llm.example.com` or "
        "`*.example.com`; names of a local network are always taken",
        read_list,
        is_ollamas=False,
    ),
    Setting(
        "require_key",
        "REQUIRE_KEY",
        "",
        "whether requests need an API key; unset, they do wherever the server listens for other machines too, `1` is "
        "always, `0` never",
        read_flag,
        is_ollamas=False,
    ),
    Setting(
        "api_key",
        "API_KEY",
        "",
        "the API key that commands send to the server",
        str,
        is_ollamas=False,
    ),
    Setting(
        "max_connections",
        "MAX_CONNECTIONS",
        "1024",
        "connections at once; the next is answered 503 and closed, 0 is no limit",
        read_count,
        is_ollamas=False,
    ),
    Setting(
        "body_memory_bytes",
        "BODY_MEMORY",
        "256MiB",
        "what the bodies of all requests may have together while these are served, small ones aside; the next large "
        "one is answered 503, 0 is no limit",
        read_bytes,
        is_ollamas=False,
    ),
    Setting("is_debug", "DEBUG", "", "`1` logs more", read_flag),
    Setting(
        "log_format",
        "LOG_FORMAT",
        "text",
        "how the log is written: `text` for people, `json` for machines, one object a line",
        read_log_format,
        is_ollamas=False,
    ),
    Setting(
        "registry",
        "REGISTRY",
        DEFAULT_REGISTRY,
        "the registry that models come from whose names say neither a host nor an organisation and are no short names: "
        "a host, with its port where it needs one, or `http://` and that; `off` is none",
        read_registry,
        is_ollamas=False,
    ),
    Setting("no_history", "NOHISTORY", "", "`1` keeps no history of conversations", read_flag),
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
