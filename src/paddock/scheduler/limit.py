"""A budget that is smaller than the machine: what is free of it counts as all that is free. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from paddock.memory.fit import Pool, Supply


def limited(supply: Supply, limit_bytes: int, held_bytes: Mapping[str, int]) -> Supply:
    """The supply of runners that may hold `limit_bytes` of each pool, and hold `held_bytes` now; 0 is no limit.

    The reserve is for others, so it is no part of the budget.
    """
    if not limit_bytes:
        return supply

    def bounded(pool: Pool) -> Pool:
        left_bytes = limit_bytes - held_bytes.get(pool.id, 0)
        return replace(
            pool,
            total_bytes=min(pool.total_bytes, limit_bytes + supply.reserve_bytes),
            free_bytes=min(pool.free_bytes, left_bytes + supply.reserve_bytes),
        )

    return replace(supply, pools=tuple(map(bounded, supply.pools)))
