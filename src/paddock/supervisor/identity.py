"""What tells one process from another that later has the same number: its start, beside its pid."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

_FIELDS_BEFORE_START = 19
"""Between the command's closing bracket and the start time in /proc/<pid>/stat: fields 3 to 21."""


def start_token(pid: int) -> str:
    """When a process started, as an opaque word that never changes while it lives; empty if it does not.

    On Linux the kernel's clock ticks since boot, which no change of the wall clock moves.
    """
    if sys.platform != "linux":
        try:
            return f"{psutil.Process(pid).create_time():.6f}"
        except psutil.Error:
            return ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[_FIELDS_BEFORE_START]


def is_running(pid: int, token: str) -> bool:
    """Whether the process that was meant, and no later one with its number, still runs; a zombie does not."""
    if pid <= 0 or not token or start_token(pid) != token:
        return False
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
