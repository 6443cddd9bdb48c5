"""The whole road: a real server process, real runners, the model that ships with the package."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import ollama
import openai
import psutil
import pytest

PLAIN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass
class Road:
    """A server process and where it listens."""

    process: subprocess.Popen[bytes]
    url: str
    home: Path
    client: ollama.Client
    """The published client, unmodified."""

    def runners(self) -> list[psutil.Process]:
        """The runner processes of this server."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and "runner" in child.cmdline()]

    def log(self) -> str:
        return (self.home / "server.log").read_text()


SERVE = ("-m", "paddock", "serve")
START_SECONDS = 90
"""A machine that does much else starts a server slowly."""


def start_road(home: Path, command: Sequence[str] = SERVE, bind: str = "127.0.0.1", **settings: str) -> Road:
    """Start `paddock serve` on a free port with a home of its own; returns when it answers.

    There is no warm spare unless a test asks for one: on a small machine its start would be felt by the others.
    """
    home.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PADDOCK_", "OLLAMA_"))}
    environment |= {"PADDOCK_HOME": str(home), "PADDOCK_HOST": f"{bind}:{port}", "PADDOCK_WARM_SPARE": "0"}
    environment |= {"PADDOCK_REGISTRY": "off", **settings}
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    url = f"http://127.0.0.1:{port}"
    road = Road(process, url, home, ollama.Client(url, timeout=60))
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.get(road.url, timeout=1)
            return road
        except httpx.TransportError:
            assert process.poll() is None, road.log()
            assert time.monotonic() < deadline, road.log()
            time.sleep(0.02)


def stop_road(road: Road) -> int:
    """End the server as an operator would, and return its exit status."""
    road.process.send_signal(signal.SIGTERM)
    try:
        return road.process.wait(15)
    except subprocess.TimeoutExpired:
        road.process.kill()
        raise


@contextmanager
def road_from(home: Path, **settings: str) -> Iterator[Road]:
    """A server that is gone afterwards, however it went."""
    road = start_road(home, **settings)
    try:
        with road.client:
            yield road
    finally:
        if road.process.poll() is None:
            stop_road(road)


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """One server for all tests of a file."""
    with road_from(tmp_path_factory.mktemp("road")) as road:
        yield road


@pytest.fixture(scope="module")
def openai_client(road: Road) -> Iterator[openai.OpenAI]:
    """OpenAI's published client, unmodified."""
    with openai.OpenAI(base_url=f"{road.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def plain(road: Road) -> Iterator[str]:
    """The demo model with a template that speaks neither of thinking nor of tools."""
    road.client.create("plain", from_="demo", template=PLAIN_TEMPLATE)
    yield "plain"
    road.client.delete("plain")
