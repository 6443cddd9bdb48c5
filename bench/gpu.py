"""The tables of `engine_loop.py` and of `serving/` on an NVIDIA GPU, in an environment that has MLX for CUDA.

python bench/gpu.py [--quick]        what else is said goes to serving/compare.py
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
from checkpoint import write_checkpoint

_HERE = Path(__file__).parent


def backend() -> str:
    """MLX's extra that is installed here; none where there is no GPU to compute with."""
    installed = {distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()}
    found = [extra for extra in ("cuda13", "cuda12") if f"mlx-{extra.replace('cuda', 'cuda-')}" in installed]
    return found[0] if found and mx.default_device() == mx.gpu else ""


def main() -> int:
    """Run both, one after the other."""
    chosen = backend()
    if not chosen:
        print("No GPU: install Paddock with the extra cuda13 or cuda12, on a machine that has one.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as place:
        folder = write_checkpoint(Path(place) / "model")
        subprocess.run([sys.executable, str(_HERE / "engine_loop.py"), str(folder), "--table"], check=True)
    command = [sys.executable, str(_HERE / "serving" / "compare.py"), *sys.argv[1:]]
    return subprocess.run(command, env=os.environ | {"BENCH_BACKEND": chosen}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
