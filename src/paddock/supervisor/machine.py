"""Whether MLX runs on this machine at all, and how its CPU is quickest.

It knows operating systems and processors, nothing of memory.
"""

from __future__ import annotations

import importlib.util

from paddock.errors import UnsupportedPlatform

_PROCESSORS = {"Darwin": ("arm64",), "Linux": ("x86_64", "amd64", "arm64", "aarch64")}


def computes_faster_dense(system: str) -> bool:
    """Whether this machine's CPU computes faster with float32 weights than with packed ones: runners have OpenBLAS."""
    return system == "Linux" and importlib.util.find_spec("scipy_openblas32") is not None


def check_platform(system: str, machine: str) -> None:
    """Refuse what MLX has no wheels for; `system` and `machine` as the standard library's `platform` names them."""
    if system not in _PROCESSORS:
        raise UnsupportedPlatform(f"MLX runs on macOS and Linux only, not on {system or 'this operating system'}.")
    if machine.lower() in _PROCESSORS[system]:
        return
    if system == "Darwin":
        raise UnsupportedPlatform(f"MLX on macOS needs Apple silicon (arm64); this machine is {machine}.")
    raise UnsupportedPlatform(f"MLX on Linux needs an x86_64 or arm64 processor; this machine is {machine}.")
