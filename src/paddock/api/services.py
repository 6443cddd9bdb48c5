"""What the routes stand on, handed to them by the composition root."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from paddock.config import Config
from paddock.scheduler.service import Scheduler
from paddock.store.library import Library


@dataclass(frozen=True)
class Services:
    """Everything below the API."""

    config: Config
    library: Library
    scheduler: Scheduler


def services_of(request: Request) -> Services:
    """The services of the server that this request reached."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services
