"""Takes tokens back out of caches, where those can give them back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from mlx_lm.models.cache import KVCache, QuantizedKVCache, RotatingKVCache, trim_prompt_cache

from paddock.runner.engines.text.model.kv_caches import leaves

NO_BOUND = sys.maxsize


def room(caches: Sequence[Any]) -> int:
    """How many tokens could be read now and all be taken back. Recurrent and chunked layers never give any back, and
    those with a window only until it is full."""
    return min(map(_room, leaves(caches)), default=0)


def take_back(caches: list[Any], count: int) -> None:
    """Forget the last tokens, which were read when there was `room` for them."""
    if count:
        trim_prompt_cache(caches, count)


def _room(cache: Any) -> int:
    if type(cache) in (KVCache, QuantizedKVCache):
        return NO_BOUND
    # One that is full begins to overwrite, and its `is_trimmable` is False.
    return max(0, cache.max_size - 1 - cache.offset) if type(cache) is RotatingKVCache else 0
