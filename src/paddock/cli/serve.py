"""`paddock serve`: the server in the foreground. The only command that imports it."""

from __future__ import annotations

import os

from paddock.config import read_config
from paddock.errors import PaddockError


def serve() -> None:
    """Serve until the process is told to stop; PaddockError for whatever prevents a start."""
    config = read_config(os.environ)
    from paddock.app import serve as run_server

    try:
        run_server(config)
    except OSError as error:
        raise PaddockError(f"the server cannot start at {config.address.url}: {error.strerror or error}.") from error
