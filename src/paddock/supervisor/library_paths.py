"""What the dynamic loader of a runner must be told, so that MLX's wheels find the libraries of their other wheels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def find_library_folders(site_packages: Sequence[Path]) -> list[Path]:
    """The `nvidia/*/lib` folders that the dependencies of `mlx[cuda]` install, in a stable order."""
    return [folder for root in site_packages for folder in sorted(root.glob("nvidia/*/lib")) if folder.is_dir()]


def library_variables(system: str, folders: Sequence[Path], inherited: str = "") -> dict[str, str]:
    """Environment variables for a runner; `inherited`, the server's own LD_LIBRARY_PATH, comes last.

    libmlx.so finds its direct dependencies by its run path; what those open later by name (cuDNN's parts, NVRTC's
    built-ins) is found only through LD_LIBRARY_PATH. macOS needs nothing: Metal belongs to the system.
    """
    if system != "Linux" or not folders:
        return {}
    entries = [str(folder) for folder in folders]
    entries += [entry for entry in inherited.split(os.pathsep) if entry and entry not in entries]
    return {"LD_LIBRARY_PATH": os.pathsep.join(entries)}
