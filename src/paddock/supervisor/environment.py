"""The environment of a runner: the server's own, without secrets, and with what a runner always gets."""

from __future__ import annotations

import re
from collections.abc import Mapping

THREADS_VARIABLE = "OPENBLAS_NUM_THREADS"
"""Fixes the threads of the CPU's matrix products, whoever sets it."""

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PGPASS|KEY|CREDENTIAL|AUTH|COOKIE|PRIVATE|PROXY|SESSION", re.IGNORECASE
)
_SECRET_VALUE = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_HARMLESS_NAMES = frozenset({"TOKENIZERS_PARALLELISM"})

_DEFAULTS = {"MALLOC_MMAP_THRESHOLD_": str(1024 * 1024)}
"""glibc raises this by itself, up to 32 MiB, as large blocks come and go; from then on a runner's arrays leave holes in
its heap, and it was seen to hold a third more than it used. Fixed, what MLX gives back goes back to the system."""
_ALWAYS = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


def runner_environment(inherited: Mapping[str, str], added: Mapping[str, str], num_thread: int = 0) -> dict[str, str]:
    """What a runner gets: it reads model files of strangers and needs neither the network nor anyone's secrets.

    `added` wins over everything; `num_thread` above 0 bounds the threads of the CPU's matrix products.
    """
    kept = {name: value for name, value in inherited.items() if not _is_secret(name, value)}
    threads = {THREADS_VARIABLE: str(num_thread), "OMP_NUM_THREADS": str(num_thread)} if num_thread > 0 else {}
    return _DEFAULTS | kept | _ALWAYS | threads | dict(added)


def _is_secret(name: str, value: str) -> bool:
    return name not in _HARMLESS_NAMES and bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))
