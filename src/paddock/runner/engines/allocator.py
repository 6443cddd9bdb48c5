"""What every engine settles with MLX before it loads: the device, and how much memory MLX may hold and keep spare."""

from __future__ import annotations

import mlx.core as mx

from paddock.runner.engines.base import EngineOptions

_SPARE_SHARE = 8
"""Of the memory limit, one part in so many may be spare buffers."""


def settle(options: EngineOptions) -> None:
    """Choose the device and bound the memory, as the options say."""
    if options.num_gpu == 0:
        mx.set_default_device(mx.cpu)
    _leave_wired_limit_alone()
    _bound_memory(options.memory_limit_bytes)


def drop_spare_buffers(keep_bytes: int) -> int:
    """Give the allocator's spare buffers back if there are more; they only go as a whole. Returns the bytes freed."""
    before_bytes = mx.get_cache_memory()
    if before_bytes > keep_bytes:
        mx.clear_cache()
    return int(before_bytes - mx.get_cache_memory())


def _leave_wired_limit_alone() -> None:
    """Memory is the server's to plan: no library may wire it down for this process."""
    mx.set_wired_limit = lambda limit: 0


def _bound_memory(limit_bytes: int) -> None:
    """What MLX may hold, and how much of that as spare buffers, never more than by itself; 0 leaves both to MLX."""
    if limit_bytes > 0:
        mx.set_memory_limit(limit_bytes)
        own_bytes = mx.set_cache_limit(limit_bytes // _SPARE_SHARE)
        mx.set_cache_limit(min(own_bytes, limit_bytes // _SPARE_SHARE))
