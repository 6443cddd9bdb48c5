"""The register of the runners that exist: one small file each, for the server that comes after an unclean end, and
the guardian's list. It knows processes, not models."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from paddock.supervisor.guardian import Guardian
from paddock.supervisor.host import FOLDER_PREFIX, NONCE_VARIABLE
from paddock.supervisor.identity import is_running, start_token

logger = logging.getLogger(__name__)

_GONE_SECONDS = 1.0
_FILES = "*.json"


class Record(msgspec.Struct, frozen=True):
    """One runner, as its file describes it. A pid of 0: it was about to be started."""

    nonce: str
    folder: str
    """Where its socket lies."""
    node: str
    server_pid: int
    server_start: str
    pid: int = 0
    start: str = ""


class Register:
    """Writes down the runners of this server."""

    def __init__(self, folder: Path, guardian: Guardian) -> None:
        """`folder` is made when it is first needed."""
        self._folder = folder
        self._guardian = guardian
        self._records: dict[str, Record] = {}
        self._server_start = start_token(os.getpid())

    def prepare(self, folder: Path) -> str:
        """A runner is about to be started with its socket in `folder`; the nonce that its environment is to carry."""
        nonce = secrets.token_hex(16)
        self._records[nonce] = Record(nonce, str(folder), platform.node(), os.getpid(), self._server_start)
        self._write(nonce)
        return nonce

    def started(self, nonce: str, pid: int) -> None:
        """It has been started, as the leader of a group of its own."""
        self._guardian.add(pid)
        self._records[nonce] = msgspec.structs.replace(self._records[nonce], pid=pid, start=start_token(pid))
        self._write(nonce)

    def ended(self, nonce: str) -> None:
        """It is gone, or was never started. Called before its pid can belong to another."""
        record = self._records.pop(nonce)
        if record.pid:
            self._guardian.remove(record.pid)
        with contextlib.suppress(OSError):
            self._path(nonce).unlink(missing_ok=True)

    def _path(self, nonce: str) -> Path:
        return self._folder / f"{nonce}.json"

    def _write(self, nonce: str) -> None:
        """Whole or not at all. Without it the runner is only not swept after an unclean end."""
        path = self._path(nonce)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.with_suffix(".new").write_bytes(msgspec.json.encode(self._records[nonce]))
            path.with_suffix(".new").replace(path)
        except OSError as error:
            logger.warning("event=runner_not_recorded error=%s", error)


def sweep(folder: Path) -> list[int]:
    """End the runners that servers which no longer run have left, and remove their folders. Returns the pids.

    A process is taken for a runner by its pid and start time together with the nonce in its environment, never by
    its pid alone.
    """
    left = [(path, record) for path, record in _records_in(folder) if _is_left_over(record)]
    victims = [pid for _, record in left for pid in _processes_of(record)]
    _kill_and_wait(victims)
    for path, record in left:
        if Path(record.folder).name.startswith(FOLDER_PREFIX):
            shutil.rmtree(record.folder, ignore_errors=True)
        path.unlink(missing_ok=True)
    if left:
        logger.warning("event=swept runners=%d processes=%s", len(left), victims)
    return victims


def _records_in(folder: Path) -> Iterator[tuple[Path, Record]]:
    for path in sorted(folder.glob(_FILES)):
        try:
            yield path, msgspec.json.decode(path.read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError) as error:
            logger.warning("event=record_unreadable file=%s error=%s", path.name, error)


def _is_left_over(record: Record) -> bool:
    """Whether its server, on this machine, has ended."""
    return record.node == platform.node() and not is_running(record.server_pid, record.server_start)


def _processes_of(record: Record) -> list[int]:
    """The runner, and what it has started, whatever group that is in now."""
    return [pid for pid in psutil.pids() if _carries(pid, record)]


def _carries(pid: int, record: Record) -> bool:
    try:
        process = psutil.Process(pid)
        if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.environ().get(NONCE_VARIABLE) == record.nonce
    except (psutil.Error, OSError):
        return False


def _kill_and_wait(pids: list[int]) -> None:
    tokens = {pid: start_token(pid) for pid in pids}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _GONE_SECONDS
    while time.monotonic() < deadline and any(is_running(pid, token) for pid, token in tokens.items()):
        time.sleep(0.01)
