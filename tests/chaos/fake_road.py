"""`paddock serve` with fake runners: the whole server is real, its runners start fast and misbehave on demand."""

from __future__ import annotations

import os
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


if __name__ == "__main__":
    app.this_host = fake_runners
    app.serve(read_config(os.environ))
