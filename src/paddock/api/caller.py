"""Who asks, as the queue, the caches and the listings know them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from starlette.requests import Request


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request: the holder of a key, or nobody in particular at some address."""

    address: str = ""
    key_id: str = ""
    """Empty for a request without a key."""
    models: Collection[str] = ()
    """The only models that are there for it; empty for all."""
    manages: bool = True
    """Whether it may look into the server, and change which models there are."""

    @property
    def client(self) -> str:
        """Whose turn it is when several ask: the key's, else the machine's that the request comes from."""
        return self.key_id or self.address

    @property
    def tenant(self) -> str:
        """Whose data its requests are: what is kept of one key's prompts is never used for another's, or for none's."""
        return self.key_id


def caller_of(request: Request) -> Caller:
    """As the door found it out."""
    caller = request.scope.get("state", {}).get("caller")
    return caller if isinstance(caller, Caller) else Caller(address_of(request))


def address_of(request: Request) -> str:
    """The machine that a request comes from."""
    return request.client.host if request.client is not None else ""


def client_of(request: Request) -> str:
    """Whose turn it is when several ask."""
    return caller_of(request).client


def tenant_of(request: Request) -> str:
    """Whose data the request is."""
    return caller_of(request).tenant
