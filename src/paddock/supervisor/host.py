"""What all runners of one server share: their command, their environment, and where their sockets and logs lie."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from paddock.supervisor.library_paths import find_library_folders, library_variables

RUNNER_COMMAND = (sys.executable, "-P", "-m", "paddock", "runner")
"""-P: nothing in the folder that the server was started in becomes a module of the runner."""

FOLDER_PREFIX = "paddock-"
"""Of the private folder of a runner's socket."""
NONCE_VARIABLE = "PADDOCK_RUNNER_NONCE"
"""In the environment of a runner, and of whatever it starts: the word by which the register knows it."""
_LONGEST_FOLDER_BYTES = 80
"""An AF_UNIX path has 104 bytes on macOS and 108 on Linux; the private folder and the socket's name take 24."""


class ProcessRegister(Protocol):
    """Who is told of every runner process, from before its start to after its end."""

    def prepare(self, folder: Path) -> str:
        """A runner is about to be started, with its socket in `folder`. Returns a word for its environment, by which
        it is named from here on."""

    def started(self, nonce: str, pid: int) -> None:
        """It has been started."""

    def ended(self, nonce: str) -> None:
        """It is gone, or was never started; its pid is still reserved."""


class NoRegister:
    """A register that keeps nothing."""

    def prepare(self, folder: Path) -> str:
        return ""

    def started(self, nonce: str, pid: int) -> None:
        """See `ProcessRegister`."""

    def ended(self, nonce: str) -> None:
        """See `ProcessRegister`."""


@dataclass(frozen=True)
class RunnerHost:
    """What all runners of one server share."""

    runtime_folder: Path
    """An existing folder, in which each runner's socket gets a private one."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The server's own, secrets and all: they are taken out before a runner gets it."""
    log_folder: Path | None = None
    """Where each model's output is appended to a file of its own; None keeps only its end, in memory."""
    command: tuple[str, ...] = RUNNER_COMMAND
    register: ProcessRegister = field(default_factory=NoRegister)


def this_host(environment: Mapping[str, str], log_folder: Path | None = None) -> RunnerHost:
    """The host that a server on this machine uses; `environment` is its own."""
    site_packages = [
        Path(path) for path in dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    ]
    libraries = library_variables(
        platform.system(), find_library_folders(site_packages), environment.get("LD_LIBRARY_PATH", "")
    )
    return RunnerHost(choose_runtime_folder(environment), {**environment, **libraries}, log_folder)


def choose_runtime_folder(environment: Mapping[str, str]) -> Path:
    """The first folder for temporary things that is writable and short enough for the path of a Unix socket."""
    for candidate in (environment.get("XDG_RUNTIME_DIR", ""), environment.get("TMPDIR", ""), "/tmp"):
        is_short = 0 < len(os.fsencode(candidate)) <= _LONGEST_FOLDER_BYTES
        if is_short and Path(candidate).is_dir() and os.access(candidate, os.W_OK | os.X_OK):
            return Path(candidate)
    return Path(tempfile.gettempdir())
