"""What the routes stand on, handed to them by the composition root, as far as each caller may see it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from starlette.requests import Request

from paddock.api.caller import Caller, caller_of
from paddock.api.metrics.counted import Counted
from paddock.config import Config
from paddock.errors import InvalidName
from paddock.scheduler.service import ResidentView, Scheduler
from paddock.store.library import Library
from paddock.store.names import ModelName
from paddock.store.pulls import Pulls
from paddock.supervisor.views import StableView


@dataclass(frozen=True)
class Services:
    """Everything below the API."""

    config: Config
    library: Library
    scheduler: Scheduler
    caller: Caller = field(default_factory=Caller)
    """For whom they are."""
    stable: Callable[[], StableView] = StableView
    """How it is with those who look after the runners, at this moment."""
    counted: Counted = field(default_factory=Counted)
    began: float = field(default_factory=time.monotonic)
    """The server's start, on the monotonic clock."""
    pulls: Pulls = field(default_factory=Pulls)

    def shows(self, name: str) -> bool:
        """Whether what concerns the model of this name is for the caller; all of it where it has no limits."""
        if not self.caller.models:
            return True
        try:
            return self.library.shows(ModelName.parse(name))
        except InvalidName:
            return False

    def residents(self) -> list[ResidentView]:
        """The runners of those models that are there for the caller."""
        found = self.scheduler.residents()
        return [row for row in found if self.library.shows(row.model.name)] if self.caller.models else found


def services_of(request: Request) -> Services:
    """The services of the server that this request reached; models that are not for the caller are not there."""
    services = request.app.state.services
    assert isinstance(services, Services)
    caller = caller_of(request)
    library = services.library
    if caller.models:
        library = library.showing_only(ModelName.parse(name) for name in caller.models)
    return replace(services, caller=caller, library=library)
