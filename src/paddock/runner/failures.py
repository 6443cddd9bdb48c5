"""What an exception becomes before it leaves the process: one code and one sentence."""

from __future__ import annotations

import re

from paddock.errors import OutOfMemory, PaddockError, RunnerError
from paddock.protocol import Failed

_MEMORY = re.compile(r"out of memory|outofmemory|\bmalloc\b|unable to allocate|bad_alloc", re.IGNORECASE)


def as_paddock_error(error: BaseException) -> PaddockError:
    """The error that users may read for any exception of an engine; details belong in the log."""
    if isinstance(error, PaddockError):
        return error
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return OutOfMemory("The model ran out of memory: shorten the input, lower num_ctx or unload other models.")
    return RunnerError("The model failed while working on this request: the server's log has the details.")


def as_failed(error: BaseException) -> Failed:
    """The frame that ends a request."""
    known = as_paddock_error(error)
    return Failed(code=known.code, message=known.message)
