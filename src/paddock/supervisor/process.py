"""The process of one runner: its start, its states, its stop, and why it ended. It knows nothing of requests."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import errno
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil

from paddock.errors import LoadFailed, OutOfMemory, PaddockError
from paddock.supervisor.environment import THREADS_VARIABLE, runner_environment
from paddock.supervisor.exit_report import ExitReport
from paddock.supervisor.exit_watch import until_exited
from paddock.supervisor.host import FOLDER_PREFIX, NONCE_VARIABLE, RunnerHost
from paddock.supervisor.model_server import RunnerOptions, RunnerSpec
from paddock.supervisor.stderr import LogFile, OutputReader

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
KILL_SECONDS = 5.0
_BACKLOG = 1024


class ProcessState(enum.StrEnum):
    """Where a process is in its life, as the server sees it."""

    SPAWNED = "spawned"
    HELLO = "hello"
    """It has answered once."""
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    """It was asked to stop, or killed."""
    STUCK = "stuck"
    """It was killed and does not end: the system holds it, and its memory with it."""
    GONE = "gone"
    """It has ended and is reaped; `exit_report` says why."""


_ENDS = frozenset({ProcessState.DRAINING, ProcessState.GONE})

TRANSITIONS: Mapping[ProcessState, frozenset[ProcessState]] = {
    ProcessState.SPAWNED: frozenset({ProcessState.HELLO}) | _ENDS,
    ProcessState.HELLO: frozenset({ProcessState.LOADING, ProcessState.READY}) | _ENDS,
    ProcessState.LOADING: frozenset({ProcessState.READY}) | _ENDS,
    ProcessState.READY: _ENDS,
    ProcessState.DRAINING: frozenset({ProcessState.STUCK, ProcessState.GONE}),
    ProcessState.STUCK: frozenset({ProcessState.GONE}),
    ProcessState.GONE: frozenset(),
}


class RunnerProcess:
    """One child process, from its start to its end.

    One task owns its end: it alone reaps the process, kills what is left of its group, closes what the server held
    for it and resolves the exit report. Everything here runs on the event loop's thread: Linux kills a runner when
    the thread that started it ends (PR_SET_PDEATHSIG), so it must be the one that lives as long as the server.
    """

    def __init__(self, spec: RunnerSpec, host: RunnerHost, *, is_spare: bool = False) -> None:
        """Start it, on the running loop. LoadFailed or OutOfMemory if the system refuses.

        A spare has no model yet; `adopt` gives it one.
        """
        loop = asyncio.get_running_loop()
        self.name = spec.name
        self.is_spare = is_spare
        self.environment = runner_environment(host.environment, spec.environment, spec.options.num_thread)
        self._host = host
        self._state = ProcessState.SPAWNED
        self._is_stop_requested = False
        self._verdict = ""
        self._over = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None
        self._report: asyncio.Future[ExitReport] = loop.create_future()
        with contextlib.ExitStack() as undo:
            try:
                self._start(spec, undo)
            except OSError as error:
                raise _start_failure(spec.name, error) from None
            undo.pop_all()
        self._owner = loop.create_task(self._see_to_the_end(), name=f"end of the runner of {spec.name}")

    @property
    def state(self) -> ProcessState:
        return self._state

    @property
    def pid(self) -> int:
        """-1 once it is gone."""
        return -1 if self._state is ProcessState.GONE else self._process.pid

    @property
    def socket_path(self) -> Path:
        return self._folder / "socket"

    @property
    def output_tail(self) -> bytes:
        """The end of what it has written on stderr and stdout."""
        return self._output.tail

    def advance(self, state: ProcessState) -> None:
        """Note a step of its life that was seen from outside; a step that the table does not have is a defect."""
        if state not in TRANSITIONS[self._state]:
            raise RuntimeError(f"a runner cannot go from {self._state} to {state}")
        logger.debug("The runner of %s is %s", self.name, state)
        self._state = state

    @property
    def processor_seconds(self) -> float:
        """What it has taken of all processors since its start; 0 where that cannot be told."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except (psutil.Error, ValueError):  # there is no process -1
            return 0.0
        return float(times.user + times.system)

    async def wait_gone(self, within_seconds: float | None = None) -> ExitReport:
        """How it ended, once it has; TimeoutError after `within_seconds`."""
        return await asyncio.wait_for(asyncio.shield(self._report), within_seconds)

    async def wait_over(self) -> ExitReport:
        """How it ended, or that it is stuck, once it is either: nobody is to wait for it any longer."""
        await self._over.wait()
        return self._report.result() if self._report.done() else self.stuck_report()

    def stuck_report(self) -> ExitReport:
        """What is told of a process that does not end."""
        return ExitReport(self.name, -signal.SIGKILL, verdict="stuck, it does not end even when killed")

    def adopt(self, spec: RunnerSpec) -> None:
        """A spare becomes the runner of a model."""
        self.name, self.is_spare = spec.name, False
        self._output.log_to(_log_file(spec, self._host))

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """SIGTERM to the group, SIGKILL after the grace, an entry in the log if even that does not end it.

        Idempotent: whoever calls it waits for the one stop under way, and may be cancelled without stopping it.
        """
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(grace_seconds))
        await asyncio.shield(self._stopping)

    def kill(self) -> None:
        """SIGKILL to the group, at once; a stop under way ends sooner for it."""
        self._request_stop()
        self._signal_group(signal.SIGKILL)

    def condemn(self, verdict: str) -> None:
        """SIGKILL to the group because of what it does; the verdict, a clause, becomes the reason of its end."""
        if self._state in (ProcessState.DRAINING, ProcessState.STUCK, ProcessState.GONE):
            return
        logger.error("event=runner_condemned model=%s pid=%d why=%r", self.name, self.pid, verdict)
        self._verdict = verdict
        self.advance(ProcessState.DRAINING)
        self._stopping = asyncio.get_running_loop().create_task(self._end_by((signal.SIGKILL, KILL_SECONDS)))

    async def _stop(self, grace_seconds: float) -> None:
        self._request_stop()
        await self._end_by((signal.SIGTERM, grace_seconds), (signal.SIGKILL, KILL_SECONDS))

    async def _end_by(self, *steps: tuple[signal.Signals, float]) -> None:
        for number, patience_seconds in steps:
            self._signal_group(number)
            with contextlib.suppress(TimeoutError):
                await self.wait_gone(patience_seconds)
                return
        logger.error("event=runner_stuck model=%s pid=%d: it does not end even when killed", self.name, self.pid)
        self.advance(ProcessState.STUCK)
        self._over.set()

    def _request_stop(self) -> None:
        if ProcessState.DRAINING in TRANSITIONS[self._state]:
            self.advance(ProcessState.DRAINING)
            self._is_stop_requested = True

    def _signal_group(self, number: signal.Signals) -> None:
        """The group's id is the process's: reserved until it is reaped, so never a stranger's."""
        if self._state is ProcessState.GONE or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM where only a zombie is left
            os.killpg(self._process.pid, number)

    def _start(self, spec: RunnerSpec, undo: contextlib.ExitStack) -> None:
        """Make what the server holds for it, then the process. `undo` takes all of that back if a step fails."""
        register = self._host.register
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=self._host.runtime_folder))
        undo.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._nonce = register.prepare(self._folder)
        undo.callback(register.ended, self._nonce)
        with contextlib.ExitStack() as theirs:
            control_read, self._control_write = os.pipe()
            undo.callback(os.close, self._control_write)
            theirs.callback(os.close, control_read)
            output_read, output_write = os.pipe()
            theirs.callback(os.close, output_write)
            self._output = OutputReader(output_read, None if self.is_spare else _log_file(spec, self._host))
            undo.callback(self._output.abandon)
            listener = theirs.enter_context(_listen(self.socket_path))
            own = ["--listen-fd", str(listener.fileno()), "--control-fd", str(control_read)]
            given = ("--spare",) if self.is_spare else load_arguments(spec, self.environment)
            self._process = subprocess.Popen(
                [*self._host.command, *given, *own],
                stdin=subprocess.DEVNULL,
                stdout=output_write,
                stderr=output_write,
                pass_fds=(listener.fileno(), control_read),
                start_new_session=True,
                env={
                    **self.environment,
                    "TMPDIR": str(self._folder),  # MLX's cache of compiled kernels has no lock
                    **({NONCE_VARIABLE: self._nonce} if self._nonce else {}),
                },
            )
        register.started(self._nonce, self._process.pid)

    async def _see_to_the_end(self) -> None:
        await until_exited(self._process)
        self._signal_group(signal.SIGKILL)  # grandchildren that outlived it hold its pipes and its memory
        self._host.register.ended(self._nonce)
        return_code = self._process.wait()
        await self._output.finish()
        os.close(self._control_write)
        shutil.rmtree(self._folder, ignore_errors=True)
        self.advance(ProcessState.GONE)
        report = ExitReport(self.name, return_code, self._output.tail, self._is_stop_requested, self._verdict)
        level = logging.INFO if report.is_requested else logging.WARNING
        logger.log(level, "event=runner_gone cause=%s why=%r", report.cause, report.sentence)
        self._report.set_result(report)
        self._over.set()


def load_arguments(spec: RunnerSpec, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The part of a runner's command line that says what it loads, and how. Threads that a request or whoever started
    the server has fixed are in its environment, and are left as they are."""
    values: dict[str, object] = {
        "--engine": spec.engine,
        "--model": spec.name,
        "--model-path": spec.model_path,
        "--num-ctx": spec.options.num_ctx,
        "--parallel": spec.options.parallel,
        "--num-batch": spec.options.num_batch,
        "--num-gpu": spec.options.num_gpu,
        "--memory-limit": spec.memory_limit_bytes,
        "--kv-bits": spec.options.kv_bits,
        "--prefix-cache": spec.options.prefix_cache_bytes,
        "--keep-packed": int(spec.options.keep_packed),
        "--runners": 0 if THREADS_VARIABLE in environment else spec.runners,
    }
    if spec.engine == "image":
        values |= _picture_arguments(spec.options)
    draft = () if spec.draft_path is None else ("--draft-path", str(spec.draft_path))
    return (*(str(part) for pair in values.items() for part in pair), *draft)


def _picture_arguments(options: RunnerOptions) -> dict[str, int]:
    """What only an image model is told; what is left open, the engine settles itself."""
    tiles = {"--tile-pixels": options.tile_pixels} if options.tile_pixels else {}
    return {
        "--pictures-at-once": options.parallel,
        "--picture-pixels": options.picture_pixels,
        "--staged": int(options.staged),
        **tiles,
    }


def _listen(path: Path) -> socket.socket:
    """A listening Unix socket that only this user may connect to; it exists before the child does."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _log_file(spec: RunnerSpec, host: RunnerHost) -> LogFile | None:
    if host.log_folder is None:
        return None
    file_name = "".join(
        character if character.isalnum() or character in "-_." else "-" for character in spec.name[:100]
    )
    return LogFile(host.log_folder / f"runner-{file_name}.log")


def _start_failure(name: str, error: OSError) -> PaddockError:
    cause = (error.strerror or "unknown error").lower()
    if error.errno == errno.ENOMEM:
        return OutOfMemory(f"The runner of '{name}' could not be started: {cause}.")
    return LoadFailed(f"The runner of '{name}' could not be started: {cause}.")
