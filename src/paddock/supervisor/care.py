"""What a runner's server is told by, and tells, whoever looks after all runners together."""

from __future__ import annotations

from typing import Protocol

from paddock.supervisor.exit_report import Cause
from paddock.supervisor.model_server import RunnerSpec
from paddock.supervisor.process import RunnerProcess


class Care(Protocol):
    """Decides who may start and with which process, and hears how it went."""

    def admit(self, spec: RunnerSpec) -> None:
        """Return if the runner may be started; Busy if it has crashed too often."""

    def take_spare(self, spec: RunnerSpec) -> RunnerProcess | None:
        """A process that has its imports behind it and suits the spec; it is the caller's from here on."""

    def ready(self, spec: RunnerSpec) -> None:
        """Its model is loaded."""

    def stopped(self, spec: RunnerSpec) -> None:
        """It has ended because it was asked to."""

    def crashed(self, spec: RunnerSpec, cause: str, kind: Cause = Cause.CRASHED) -> None:
        """It has ended by itself, or had to be killed; `cause` is a clause, `kind` the same as one word."""


class NoCare:
    """Every start is allowed, with a process of its own."""

    def admit(self, spec: RunnerSpec) -> None:
        """See `Care`."""

    def take_spare(self, spec: RunnerSpec) -> RunnerProcess | None:
        return None

    def ready(self, spec: RunnerSpec) -> None:
        """See `Care`."""

    def stopped(self, spec: RunnerSpec) -> None:
        """See `Care`."""

    def crashed(self, spec: RunnerSpec, cause: str, kind: Cause = Cause.CRASHED) -> None:
        """See `Care`."""
