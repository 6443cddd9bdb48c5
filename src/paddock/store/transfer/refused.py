"""What was fetched for a model that is then refused goes again."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TypeVar

from paddock.errors import BadRequest, UnsupportedModel
from paddock.store.leases import Lease
from paddock.store.library import Library
from paddock.store.transfer.partial import in_thread

_Result = TypeVar("_Result")


async def unless_refused(work: Awaitable[_Result], library: Library, digests: Iterable[str], lease: Lease) -> _Result:
    """What `work` gives; where it refuses the model, the blobs that came for it alone are removed again."""
    try:
        return await work
    except (BadRequest, UnsupportedModel):
        await in_thread(library.discard, digests, lease)
        raise
