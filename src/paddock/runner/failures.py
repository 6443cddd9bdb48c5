"""What an exception becomes before it leaves the process: one code and one sentence."""

from __future__ import annotations

import re

from paddock.errors import DamagedModel, OutOfMemory, PaddockError, RunnerError
from paddock.protocol import Failed

_MEMORY = re.compile(r"out of memory|outofmemory|\bmalloc\b|unable to allocate|bad_alloc", re.IGNORECASE)
_NATIVE_PANIC = "PanicException"
"""What a panic in a tokenizer's native code becomes: no Exception, and of a module that cannot be imported."""


def as_paddock_error(error: BaseException) -> PaddockError:
    """The error that users may read for any exception of an engine; details belong in the log."""
    if isinstance(error, PaddockError):
        return error
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return OutOfMemory("The model ran out of memory: shorten the input, lower num_ctx or unload other models.")
    if type(error).__name__ == _NATIVE_PANIC:
        return DamagedModel("The model's tokenizer broke down on this text: create the model from other files.")
    return RunnerError("The model failed while working on this request: the server's log has the details.")


def as_failed(error: BaseException) -> Failed:
    """The frame that ends a request."""
    known = as_paddock_error(error)
    return Failed(code=known.code, message=known.message)
