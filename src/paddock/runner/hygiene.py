"""What a runner process does to itself before it does anything else: environment, descriptors, signals, death watch.

It knows neither engines nor HTTP.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

EXIT_ORPHANED = 70
"""Exit status of a runner whose server is gone."""

_PR_SET_PDEATHSIG = 1
_OOM_SCORE = 500
"""Halfway to the largest: the system ends runners before the server and before what the user works with."""
_NETWORK_EVENTS = frozenset(
    {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
)
_CUDA_WHEELS = ("mlx-cuda-12", "mlx-cuda-13")


def prepare_environment(variables: MutableMapping[str, str], num_gpu: int) -> None:
    """Set what MLX, transformers and tokenizers read when they are imported; values that are there already stay."""
    defaults = {
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_OFFLINE": "1",
        # One processor is left to everything else: threads that wait for one another stall where others work too.
        "OPENBLAS_NUM_THREADS": str(max(1, usable_cpus() - 1)),
    }
    if sys.platform == "linux" and (num_gpu == 0 or not has_cuda_wheel()):
        # On the CPU MLX compiles kernels by calling g++ at run time, into a cache without a lock, for no gain.
        defaults["MLX_DISABLE_COMPILE"] = "1"
    for name, value in defaults.items():
        variables.setdefault(name, value)


def leave_torch_out() -> None:
    """Have transformers take PyTorch for not installed: where it is, importing it costs every runner seconds and
    200 MB, and nothing here computes with it."""
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]


def has_cuda_wheel() -> bool:
    """Whether MLX's libraries for NVIDIA GPUs are installed."""
    for wheel in _CUDA_WHEELS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.distribution(wheel)
            return True
    return False


def usable_cpus() -> int:
    """Processors that this process may use: by its affinity, and by what its control group allows it."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, round(int(quota) / int(period))))
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return allowed


def stay_small_in_death() -> None:
    """Write no core dump, which would hold prompts and take minutes; and where memory ends, be the first to go."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))


def stay_off_the_network() -> None:
    """Refuse connections to anything but Unix sockets, whichever library tries. It cannot be taken back.

    This stops Python code only, which is enough for what it is for: no library asks a hub behind our back.
    """
    sys.addaudithook(_refuse_network)


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _NETWORK_EVENTS:
        return
    # A look-up of a name comes without a socket.
    if event.startswith("socket.get") or arguments[0].family != socket.AF_UNIX:
        raise PermissionError("a runner does not use the network")


@contextlib.contextmanager
def file_limit_kept() -> Iterator[None]:
    """Ignore changes of resource limits inside the block.

    `import mlx_lm` lowers RLIMIT_NOFILE, the hard limit too, which an ordinary user could not raise again.
    """
    original = resource.setrlimit

    def ignore(_which: int, _limits: tuple[int, int]) -> None:
        logger.debug("a library's change of a resource limit was ignored")

    module: Any = resource
    module.setrlimit = ignore
    try:
        yield
    finally:
        module.setrlimit = original


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (Linux only).

    A parent that ended before this call is noticed by the control pipe, whose end of file came with it: comparing
    the parent's pid with 1 would be wrong in a container, where the server itself may be process 1.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        logger.warning("the kernel refused a parent death signal: %s", os.strerror(ctypes.get_errno()))
    if os.getppid() != parent:
        os._exit(EXIT_ORPHANED)


def watch_control_pipe(descriptor: int) -> threading.Thread:
    """End the process at once when the server's end of the pipe closes, whatever other threads are doing."""
    thread = threading.Thread(target=_wait_for_end_of_file, args=(descriptor,), name="control-pipe", daemon=True)
    thread.start()
    return thread


def _wait_for_end_of_file(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(descriptor, 4096):
            pass
    os._exit(EXIT_ORPHANED)


def keep_to_ourselves(*descriptors: int) -> None:
    """Make sure that no child of this process inherits these descriptors."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)


def ignore_interrupts() -> None:
    """Ctrl-C in a terminal reaches the whole foreground group; the server decides when its runners end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def exit_now(status: int) -> NoReturn:
    """Flush and end without the interpreter's shutdown: a thread still inside MLX there would abort the process."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
