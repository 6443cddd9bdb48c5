"""A server in the background: started for `paddock run` where none answers, ended by `paddock stop --server`."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import typer

from paddock.cli.client import Client, NoServer
from paddock.cli.progress import spinner
from paddock.config import Config
from paddock.errors import NotFound, PaddockError

START_SECONDS = 20.0
STOP_SECONDS = 60.0
GIVE_UP_SECONDS = 5.0
"""How long a server that did not start may take to end."""
POLL_SECONDS = 0.1
CLOCK_SLACK_SECONDS = 2.0
"""How far two readings of one process's start may lie apart when the machine's clock was set in between."""
LOG_BYTES = 10 * 1000 * 1000
"""A log larger than this is put aside before the next start."""
SERVE = (sys.executable, "-m", "paddock", "serve")


def ensure_server(client: Client, config: Config, command: Sequence[str] = SERVE) -> None:
    """Return once a server answers, starting one if there is none and its address is on this machine."""
    if client.is_answering():
        return
    if not is_local(client.url):
        raise NoServer(client.url)
    start(client, config, command)
    typer.echo(
        f"Started a Paddock server in the background (log: {log_path(config)}). Stop it with `paddock stop --server`.",
        err=True,
    )


def is_local(url: str) -> bool:
    """Whether a server started here would be found at `url`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        return parts.scheme == "http" and ip_address(host).is_loopback
    except ValueError:
        return parts.scheme == "http" and host == "localhost"


def start(client: Client, config: Config, command: Sequence[str] = SERVE) -> None:
    """Start a server that outlives this process, and wait until it answers.

    PaddockError with the last line of its log if it ends before that, or is not there after 20 seconds.
    """
    log = _open_log(config)
    log_start = log.stat().st_size
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    with contextlib.ExitStack() as undo:
        undo.callback(_end, child)  # unless it answers: an impatient Ctrl+c leaves no half-started server behind
        with spinner("Starting a server"):
            _wait_until_answering(client, child, log, log_start)
        undo.pop_all()
    if child.poll() is None:  # else another server took the address first, and that one answers
        started = psutil.Process(child.pid).create_time()
        _pid_path(config).write_text(f"{child.pid} {started}\n")


def stop_server(config: Config) -> None:
    """End the server that `start` started, and wait until it is gone; NotFound if it is not running."""
    server = _started_server(config)
    if server is None:
        raise NotFound("no server runs that was started in the background: end others where they were started.")
    server.send_signal(signal.SIGTERM)
    with spinner("Stopping the server"):
        try:
            server.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            raise PaddockError(
                f"the server is still running after {STOP_SECONDS:.0f} seconds: see {log_path(config)}."
            ) from None
    _pid_path(config).unlink(missing_ok=True)
    typer.echo("stopped the server")


def log_path(config: Config) -> Path:
    """Where a server in the background writes."""
    return config.home / "logs" / "server.log"


def _pid_path(config: Config) -> Path:
    return config.home / "server.pid"


def _open_log(config: Config) -> Path:
    log = log_path(config)
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".previous.log"))
        log.touch(mode=0o600)
    except OSError as error:
        raise PaddockError(f"the log {log} cannot be written: {error.strerror}.") from None
    return log


def _wait_until_answering(client: Client, child: subprocess.Popen[bytes], log: Path, log_start: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not client.is_answering():
        has_ended = child.poll() is not None
        if has_ended and not client.is_answering():
            raise PaddockError(f"the server could not be started: {_last_line(log, log_start)}")
        if time.monotonic() > deadline:
            raise PaddockError(f"the server did not answer within {START_SECONDS:.0f} seconds: see {log}.")
        time.sleep(POLL_SECONDS)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(GIVE_UP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _last_line(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), f"it ended without a word ({log}).")
    return last.removeprefix("Error: ")


def _started_server(config: Config) -> psutil.Process | None:
    """The process that the pid file names, if it is the very one: a recycled pid has another start time."""
    try:
        pid, started = _pid_path(config).read_text().split()
        process = psutil.Process(int(pid))
        is_same = abs(process.create_time() - float(started)) < CLOCK_SLACK_SECONDS
    except (OSError, ValueError, psutil.Error):
        return None
    return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
