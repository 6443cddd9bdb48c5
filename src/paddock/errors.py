"""Every error that Paddock tells a user about, as one tree. It knows no HTTP: `api/errors.py` decides the statuses.

    PaddockError
    ├── BadRequest               the request cannot be served as it was written
    │   ├── InvalidName          a model name or digest that breaks the grammar
    │   ├── InvalidOption        an option of the wrong type, out of range, or unknown
    │   ├── InvalidField         a field of a body that makes no sense, and which one (`field`)
    │   │   └── PreviousGone     … being a response to go on from that is not kept
    │   ├── Unsupported          a documented field that this model or this version cannot honour
    │   ├── ContextTooLong       more prompt tokens than the context holds
    │   └── InvalidModelFiles    files that cannot become a model (create)
    ├── Unauthorised             the request needs an API key, and has none that counts
    ├── Forbidden                its key does not go that far
    ├── TooManyRequests          its key allows no more for now (`retry_after_seconds`)
    ├── NotFound                 no such model, blob or route
    │   └── ModelNotFound        … and it is a model
    ├── Busy                     come back later (`retry_after_seconds`)
    ├── NeverFits                the model needs more memory than this machine can give
    ├── UnsupportedModel         no engine can run this architecture
    ├── DamagedModel             a stored model whose files are missing, short or wrong
    ├── StoreError               the store itself cannot be read or written
    │   └── StoreFull            … as the disk is full
    ├── RemoteFailed             another server, which a model comes from, cannot be reached or answers wrongly
    │   └── NoAccess             … or does not give it to whoever asks
    ├── UnsupportedPlatform      this machine cannot run MLX at all
    ├── RunnerError              a model's process failed
    │   ├── LoadFailed           … before it was ready
    │   ├── OutOfMemory          … because memory ran out
    │   ├── RunnerDied           … while it was serving
    │   └── ProtocolError        … by saying something that the protocol does not know
    ├── Cancelled                the client went away
    └── ServerClosing            the server is shutting down

Each class has a `code`: the word under which it crosses the runner's protocol and appears in logs.
"""

from __future__ import annotations

from typing import ClassVar


class PaddockError(Exception):
    """Something that a user should read. The message is one sentence: what is wrong and what to do."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(PaddockError):
    """The request cannot be served as it was written."""

    code = "bad_request"


class InvalidName(BadRequest):
    """A model name or a digest that breaks the grammar."""

    code = "invalid_name"


class InvalidOption(BadRequest):
    """An option that is unknown, of the wrong type or out of its range."""

    code = "invalid_option"


class InvalidField(BadRequest):
    """A field of a body that makes no sense; `field` is its name, empty where no single one is to blame."""

    code = "invalid_field"

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class PreviousGone(InvalidField):
    """The response that a request wants to go on from is not kept, or not any more."""

    code = "previous_response_not_found"


class Unsupported(BadRequest):
    """A documented field that this model, or this version, cannot honour."""

    code = "unsupported"


class ContextTooLong(BadRequest):
    """More prompt tokens than the context holds."""

    code = "context_too_long"


class InvalidModelFiles(BadRequest):
    """Uploaded files that cannot become a model."""

    code = "invalid_model_files"


class Unauthorised(PaddockError):
    """The request needs an API key, and has none that counts."""

    code = "unauthorised"


class Forbidden(PaddockError):
    """The request's API key does not go that far."""

    code = "forbidden"


class TooManyRequests(PaddockError):
    """The request's API key allows no more for now; it will after `retry_after_seconds`."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NotFound(PaddockError):
    """No such model or blob."""

    code = "not_found"


class ModelNotFound(NotFound):
    """No model of this name is stored."""

    code = "model_not_found"


class Busy(PaddockError):
    """The server cannot take this now; it will be able to after `retry_after_seconds`."""

    code = "busy"

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NeverFits(PaddockError):
    """The model needs more memory than this machine can ever give it."""

    code = "never_fits"


class UnsupportedModel(PaddockError):
    """No engine here can run this model's architecture."""

    code = "unsupported_model"


class DamagedModel(PaddockError):
    """A stored model whose files are missing, short or wrong."""

    code = "damaged_model"


class StoreError(PaddockError):
    """The store cannot be read or written (permissions, disk full, another server)."""

    code = "store"


class StoreFull(StoreError):
    """The disk of the store is full, or would be; the message tells how many bytes are short where that is known."""

    code = "store_full"


class RemoteFailed(PaddockError):
    """Another server, which a model comes from, cannot be reached or answers wrongly."""

    code = "remote"


class NoAccess(RemoteFailed):
    """The server that has the model does not give it to whoever asks: a token is missing, or may not read it."""

    code = "no_access"


class UnsupportedPlatform(PaddockError):
    """MLX does not run on this operating system or processor."""

    code = "unsupported_platform"


class RunnerError(PaddockError):
    """A model's process failed; the message carries its last words."""

    code = "runner"


class LoadFailed(RunnerError):
    """The process ended, or stopped making progress, before the model was ready."""

    code = "load_failed"


class OutOfMemory(RunnerError):
    """The process ran out of memory."""

    code = "out_of_memory"


class RunnerDied(RunnerError):
    """The process ended while it was serving."""

    code = "runner_died"


class ProtocolError(RunnerError):
    """The process said something that the protocol does not know."""

    code = "protocol"


class Cancelled(PaddockError):
    """The client went away, so nobody is left to answer."""

    code = "cancelled"


class ServerClosing(PaddockError):
    """The server is shutting down."""

    code = "server_closing"


def _tree(root: type[PaddockError]) -> list[type[PaddockError]]:
    return [root, *(found for child in root.__subclasses__() for found in _tree(child))]


_BY_CODE = {error.code: error for error in _tree(PaddockError)}


def from_code(code: str, message: str) -> PaddockError:
    """The exception that crossed the protocol as `code`; an unknown code becomes a plain RunnerError."""
    return _BY_CODE.get(code, RunnerError)(message)
