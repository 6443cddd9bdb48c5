"""What a runner writes on stderr and stdout: always read, and kept in a bounded tail.

A child whose pipe is not read blocks in write(), and a line reader dies of a long line. So a thread of its own reads
raw chunks, whatever they hold, and nothing that it does waits for the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import threading
from pathlib import Path

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024
TAIL_BYTES = 256 * 1024
LOG_FILE_BYTES = 10 * 1024 * 1024


class LogFile:
    """A file that is appended to, and moved aside to `<name>.1` before it would outgrow `limit_bytes`."""

    def __init__(self, path: Path, limit_bytes: int = LOG_FILE_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._descriptor = -1
        self._size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append; raises OSError."""
        if self._descriptor >= 0 and self._size_bytes + len(chunk) > self._limit_bytes:
            self.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        if self._descriptor < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._size_bytes = os.fstat(self._descriptor).st_size
        os.write(self._descriptor, chunk)
        self._size_bytes += len(chunk)

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class OutputReader:
    """Reads one child's output in a daemon thread until the pipe ends, or until `finish`.

    It owns both descriptors: the pipe's read end and its own wake-up. The tail is one immutable bytes object that the
    thread replaces, so any thread may look at it without a lock.
    """

    def __init__(self, descriptor: int, log_file: LogFile | None = None) -> None:
        """Start reading, on the running loop; from here on the descriptor is the reader's. OSError if it cannot."""
        self._descriptor = descriptor
        self._log_file = log_file
        self._tail = b""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, descriptor)
            os.set_blocking(descriptor, False)
            self._wake_read, self._wake_write = os.pipe()
            undo.callback(os.close, self._wake_read)
            undo.callback(os.close, self._wake_write)
            try:
                threading.Thread(target=self._run, name="runner-output", daemon=True).start()
            except RuntimeError:  # the system gives no more threads
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
            undo.pop_all()

    @property
    def tail(self) -> bytes:
        """The last 256 KiB."""
        return self._tail

    def log_to(self, log_file: LogFile | None) -> None:
        """Append to a file from here on. Only for a reader that was made without one."""
        self._log_file = log_file

    def abandon(self) -> None:
        """Have the thread take what is there and end, without waiting for it."""
        if self._wake_write >= 0:
            os.close(self._wake_write)
            self._wake_write = -1

    async def finish(self, within_seconds: float = 1.0) -> None:
        """Read what is there and stop, even if a grandchild still holds the pipe; bounded in time."""
        self.abandon()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), within_seconds)

    def _run(self) -> None:
        try:
            self._read_until_end()
        finally:
            os.close(self._descriptor)
            os.close(self._wake_read)
            self._close_log()
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                self._loop.call_soon_threadsafe(self._ended.set)

    def _read_until_end(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            is_finishing = any(descriptor == self._wake_read for descriptor, _ in poll.poll())
            try:
                chunk = os.read(self._descriptor, CHUNK_BYTES)
            except BlockingIOError:
                chunk = b""
                if not is_finishing:
                    continue
            if not chunk:
                return
            self._keep(chunk)
            if is_finishing:
                self._drain()
                return

    def _drain(self) -> None:
        """Take what a pipe can hold at most: a grandchild that goes on writing must not keep this thread."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(TAIL_BYTES // CHUNK_BYTES):
                chunk = os.read(self._descriptor, CHUNK_BYTES)
                if not chunk:
                    return
                self._keep(chunk)

    def _keep(self, chunk: bytes) -> None:
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]
        if self._log_file is None:
            return
        try:
            self._log_file.write(chunk)
        except OSError as error:
            logger.warning("A runner's log is given up: %s", error)
            self._close_log()

    def _close_log(self) -> None:
        if self._log_file is not None:
            with contextlib.suppress(OSError):
                self._log_file.close()
            self._log_file = None
