"""A runner without a model yet: it imports what every model needs, and becomes a model's runner when it is told to.

Nothing of a model is known here before `begin`; afterwards it is a runner like any other.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence

from paddock.errors import ProtocolError

_NICENESS = 10


class Spare:
    """The arguments of a runner whose model is told later."""

    def __init__(self, own: Sequence[str], parse: Callable[[Sequence[str]], argparse.Namespace]) -> None:
        """`own` is this process's command line, `parse` reads one that has a model in it."""
        self._own = [argument for argument in own if argument != "--spare"]
        self._parse = parse
        self._arguments: argparse.Namespace | None = None

    @property
    def arguments(self) -> argparse.Namespace:
        """Those of the model; not before `begin`."""
        assert self._arguments is not None, "no model has been given"
        return self._arguments

    def begin(self, arguments: Sequence[str]) -> None:
        """Take the arguments of a model. ProtocolError for what is no command line of a runner."""
        try:
            self._arguments = self._parse([*self._own, *arguments])
        except SystemExit:
            raise ProtocolError("These are no arguments of a runner.") from None


def warm_up(import_engine: Callable[[], object]) -> threading.Thread:
    """Import in a thread of its own at a low priority, so that models which are at work do not feel it.

    On Linux the priority belongs to the thread and ends with it. A load that comes meanwhile waits at the import lock.
    """

    def work() -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        # What goes wrong here goes wrong again in the load, which has someone to tell it to.
        import_engine()

    thread = threading.Thread(target=work, name="warm-up", daemon=True)
    thread.start()
    return thread
