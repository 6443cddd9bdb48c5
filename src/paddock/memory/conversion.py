"""What making other weights of a model's own takes in memory: a tensor at a time, whatever the model's size. Pure."""

from __future__ import annotations

from paddock.memory.estimate import ACCELERATOR_RUNTIME_BYTES, MIB, RUNTIME_BYTES, Need

WORKSPACE_BYTES = 128 * MIB
"""Rows of a tensor, what an adapter adds to them, and what becomes of them: 16 MiB of rows at a time."""


def conversion_need(largest_tensor_bytes: int, adapter_bytes: int, *, on_accelerator: bool) -> Need:
    """The memory of a conversion. `largest_tensor_bytes` counts the experts of a layer as one, and is there twice: they
    are read one by one and stacked."""
    return Need(
        weights_bytes=2 * largest_tensor_bytes + adapter_bytes,
        kv_bytes=0,
        workspace_bytes=WORKSPACE_BYTES,
        runtime_bytes=ACCELERATOR_RUNTIME_BYTES if on_accelerator else RUNTIME_BYTES,
    )
