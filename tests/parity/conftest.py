"""MLX compiles no kernels here, as in a runner on a CPU, since each would cost seconds of g++; and transformers does
not tell which faster kernels it could have."""

from __future__ import annotations

import os

os.environ.setdefault("MLX_DISABLE_COMPILE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
