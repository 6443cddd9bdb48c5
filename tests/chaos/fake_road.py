"""`paddock serve` with fake runners: the whole server is real, its runners start fast and misbehave on demand."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from paddock import app
from paddock.config import read_config
from paddock.supervisor.host import RunnerHost, this_host
from tests.fakes.runners import fake_host


def fake_runners(environment: Mapping[str, str], log_folder: Path | None = None) -> RunnerHost:
    """The host of this machine, but with the command of a fake."""
    return replace(this_host(environment, log_folder), command=fake_host().command)


def rebuild_table_of_interned_strings() -> None:
    """Have Python rebuild it now, where it is twice as large from then on, rather than once in the middle of what is
    measured: the names of temporary folders pass through it, and each leaves an empty place until that happens."""
    for number in range(100_000):
        sys.intern(f"a name that nobody keeps {number}")


if __name__ == "__main__":
    rebuild_table_of_interned_strings()
    app.this_host = fake_runners
    app.serve(read_config(os.environ))
