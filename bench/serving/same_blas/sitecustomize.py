"""Gives a process that another server runs in the BLAS that Paddock's runners have, so that servers can be compared.

Python imports a module of this name at its start, if it finds one on PYTHONPATH.
"""

from __future__ import annotations

import os
import sys

if os.environ.get("BENCH_SAME_BLAS"):
    import mlx.core

    from paddock.runner import blas

    chosen = blas.install(os.environ, has_cuda=False)
    if "OpenBLAS" not in chosen:
        sys.exit(f"the same BLAS was asked for, but this process has {chosen}")
    del mlx
