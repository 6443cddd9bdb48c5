"""The servers of the serving benchmark: how each is installed into an environment of its own, and how it is started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from dialects import CHAT, COMPLETIONS, GENERATE, Dialect
from load import Place

from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName

HOME = Path(os.environ.get("BENCH_PEERS", Path.home() / ".cache" / "paddock-bench"))
BACKEND = os.environ.get("BENCH_BACKEND", "cpu")
"""What MLX computes with, as its extras name it: cpu, cuda12 or cuda13."""
IS_CPU = BACKEND == "cpu"
_MLX = f"mlx[{BACKEND}]"
_HERE = Path(__file__).parent
_SOURCE = _HERE.parent.parent / "src"
_START_SECONDS = 120


@dataclass(frozen=True)
class Peer:
    """Another server that runs on MLX: what it takes to install and to start it."""

    name: str
    requirements: tuple[str, ...]
    command: tuple[str, ...]
    """After the environment's folder of programs; {folder} is the model, {port} where to listen."""
    unwanted: tuple[str, ...] = ()
    """Packages that come along and break it."""
    dialect: Dialect = COMPLETIONS

    @property
    def environment(self) -> Path:
        """Its virtual environment, one for each backend."""
        return HOME / (self.name if IS_CPU else f"{self.name}-{BACKEND}")

    def install(self) -> None:
        """Make the environment, unless it is there."""
        if (self.environment / "installed").exists():
            return
        pip = [str(self.environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([sys.executable, "-m", "venv", str(self.environment)], check=True)
        subprocess.run([*pip, *self.requirements, "scipy-openblas32"], check=True)
        if self.unwanted:
            subprocess.run([*pip[:-2], "uninstall", "--quiet", "--yes", *self.unwanted], check=True)
        (self.environment / "installed").touch()

    @contextmanager
    def serving(self, folder: Path, same_blas: bool) -> Iterator[Place]:
        """The server with this model, as its users get it or with the BLAS that Paddock has."""
        port = _free_port()
        program, *arguments = (word.format(folder=folder, port=port) for word in self.command)
        command = [str(self.environment / "bin" / program), *arguments]
        variables = {"HF_HUB_OFFLINE": "1"}
        if same_blas:
            threads = str(max(1, (os.cpu_count() or 1) - 1))
            paths = os.pathsep.join((str(_HERE / "same_blas"), str(_SOURCE)))
            variables |= {"BENCH_SAME_BLAS": "1", "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": threads}
        with _running(command, variables, f"http://127.0.0.1:{port}", folder.parent / f"{self.name}.log") as (
            url,
            process,
        ):
            yield Place(url, str(folder), self.dialect, process)


_TORCH = "torch==2.13.0"
# The newest one does not go with this PyTorch, and transformers stumbles over it.
_VISION = ("torchvision",)
PEERS = (
    Peer(
        "mlx_lm.server",
        ("mlx-lm", _MLX),
        ("python", "-m", "mlx_lm", "server", "--model", "{folder}", "--port", "{port}"),
    ),
    Peer(
        "vllm-mlx",
        (_TORCH, "vllm-mlx", _MLX),
        ("vllm-mlx", "serve", "{folder}", "--port", "{port}", "--continuous-batching"),
        _VISION,
    ),
    Peer(
        "rapid-mlx",
        (_TORCH, "rapid-mlx", _MLX),
        ("rapid-mlx", "serve", "{folder}", "--port", "{port}"),
        _VISION,
    ),
    Peer(
        "mlx-vlm",
        ("mlx-vlm", _MLX),
        ("python", "-m", "mlx_vlm", "server", "--model", "{folder}", "--port", "{port}"),
        dialect=CHAT,
    ),
)


@contextmanager
def paddock_serving(folder: Path) -> Iterator[Place]:
    """A Paddock server of this environment with the model, as its users get it."""
    home = folder.parent / "home"
    if not home.exists():
        import_folder(Library(home / "models"), ModelName.parse("bench"), folder)
    port = _free_port()
    variables = {
        "PADDOCK_HOME": str(home),
        "PADDOCK_HOST": f"127.0.0.1:{port}",
        "PADDOCK_NUM_PARALLEL": "16",
        "PADDOCK_CONTEXT_LENGTH": "32768",
    }
    command = [sys.executable, "-m", "paddock", "serve"]
    with _running(command, variables, f"http://127.0.0.1:{port}", home / "server.log") as (url, process):
        yield Place(url, "bench", GENERATE, process)


@contextmanager
def _running(command: list[str], variables: dict[str, str], url: str, log_path: Path) -> Iterator[tuple[str, int]]:
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not serve: {log_path.read_text(errors='replace')[-1500:]}")
            time.sleep(0.2)
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=2)
    except httpx.TransportError:
        return False
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
