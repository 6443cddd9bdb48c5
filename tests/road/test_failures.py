"""What goes wrong on the road, and who notices: only those whom it concerns, soon, and in words."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import httpx
import ollama
import psutil
import pytest

from paddock import demo
from paddock.protocol import Activity, Health, decode
from tests.fakes.waiting import until_blocking
from tests.road.conftest import Road, road_from, stop_road
from tests.runner.tiny import TinyShape, make_tiny_model

ENDLESS = {"temperature": 1.0, "seed": 1, "num_ctx": 2048, "num_predict": 1500, "repeat_penalty": 1.5}
"""Goes on for seconds: the penalty keeps the model from ending soon."""


@pytest.fixture
def own_road(tmp_path: Path) -> Iterator[Road]:
    """A server that a test may kill."""
    with road_from(tmp_path / "home") as road:
        yield road


def stream(road: Road) -> Generator[dict[str, object], None, None]:
    """Lines of a long raw answer."""
    body = {"model": "demo", "prompt": "Once upon a time", "raw": True, "options": ENDLESS}
    with httpx.stream("POST", f"{road.url}/api/generate", json=body, timeout=60) as response:
        for line in response.iter_lines():
            yield json.loads(line)


def test_a_killed_runner_ends_its_stream_with_the_reason_and_the_next_request_works(road: Road) -> None:
    lines = stream(road)
    for _ in range(5):
        assert "response" in next(lines)
    (runner,) = road.runners()
    killed_at = time.monotonic()

    runner.kill()
    rest = list(lines)
    seconds = time.monotonic() - killed_at

    assert seconds < 2
    assert "SIGKILL" in str(rest[-1]["error"])
    assert not any("error" in line for line in rest[:-1])
    assert road.client.generate("demo", "Hello").response
    print(f"error frame {seconds:.3f} s after the kill")


def test_a_killed_server_leaves_no_runner(own_road: Road) -> None:
    with closing(stream(own_road)) as lines:
        next(lines)
        runners = own_road.runners()
        assert runners

        own_road.process.kill()
        seconds = until_blocking(lambda: not any(is_alive(runner) for runner in runners), within_seconds=5)

    print(f"no runner {seconds:.3f} s after the server's end")


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def health_of(runner: psutil.Process) -> Health:
    """What a runner says of itself, asked on its own socket."""
    path = next(found.laddr for found in runner.net_connections("unix") if str(found.laddr).endswith("socket"))
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.get("http://runner/health") as response,
    ):
        return decode(await response.read(), Health)


async def busy_runner(road: Road) -> psutil.Process:
    """The one that is answering somebody."""
    for runner in road.runners():
        if (await health_of(runner)).active_requests:
            return runner
    raise AssertionError("no runner is busy")


async def test_the_engine_stops_when_the_client_goes(road: Road, tmp_path: Path) -> None:
    """The runner's own counter stands still long before the answer would have ended."""
    create(road, "endless", make_tiny_model(tmp_path, TinyShape(context=100_000)))
    body = {"model": "endless", "prompt": "Hello", "raw": True, "options": {"num_ctx": 100_000}}
    async with aiohttp.ClientSession() as session:
        response = await session.post(f"{road.url}/api/generate", json=body)
        for _ in range(10):
            await response.content.readline()
        runner = await busy_runner(road)
        while_reading = (await health_of(runner)).tokens
        response.close()

    while (health := await health_of(runner)).active_requests or health.activity is not Activity.IDLE:
        pass

    at_rest = await health_of(runner)
    assert at_rest.tokens < 10_000
    assert (await health_of(runner)).tokens == at_rest.tokens
    assert (await health_of(runner)).steps == at_rest.steps
    print(f"{while_reading} tokens when the client left, {at_rest.tokens} at rest")


def broken(folder: Path, change: str) -> Path:
    """A copy of the demo model's folder with one thing wrong."""
    shutil.copytree(demo.model_folder(), folder)
    config = json.loads((folder / "config.json").read_text())
    weights = folder / "model.safetensors"
    if change == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif change == "architecture":
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "mystery"}))
    elif change == "shape":
        (folder / "config.json").write_text(json.dumps(config | {"hidden_size": config["hidden_size"] * 2}))
    elif change == "weights":
        weights.unlink()
    return folder


def create(road: Road, name: str, folder: Path) -> None:
    files = {
        path.name: road.client.create_blob(path)
        for path in sorted(folder.iterdir())
        if path.suffix in (".json", ".safetensors", ".jinja")
    }
    road.client.create(name, files=files)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [("truncated", "model.safetensors"), ("weights", "safetensors"), ("architecture", "mystery"), ("shape", "shape")],
)
def test_a_broken_model_is_named_and_the_others_go_on(road: Road, tmp_path: Path, change: str, sentence: str) -> None:
    road.client.generate("demo", "Hello", keep_alive="5m")
    runners = {runner.pid for runner in road.runners()}

    def make_and_ask() -> None:
        create(road, f"broken-{change}", broken(tmp_path / change, change))
        road.client.generate(f"broken-{change}", "Hello")

    with pytest.raises(ollama.ResponseError, match=sentence) as caught:
        make_and_ask()

    assert caught.value.status_code in (400, 500, 502)
    assert caught.value.error.count("\n") == 0
    assert runners <= {runner.pid for runner in road.runners()}
    assert road.client.generate("demo", "Hello").response
    print(caught.value.error)


def test_a_blob_that_vanished_is_named(road: Road, tmp_path: Path) -> None:
    folder = broken(tmp_path / "vanishing", "none")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"comment": "a blob of its own"}))
    create(road, "vanishing", folder)
    newest = max((road.home / "models" / "blobs").iterdir(), key=lambda path: b"a blob of its own" in path.read_bytes())
    newest.unlink()

    with pytest.raises(ollama.ResponseError, match=r"config\.json") as caught:
        road.client.generate("vanishing", "Hello")

    assert "create it again" in caught.value.error


def test_sigterm_ends_the_server_cleanly_and_its_runners_with_it(own_road: Road) -> None:
    own_road.client.generate("demo", "Hello")
    runners = own_road.runners()

    assert stop_road(own_road) == 0
    assert not any(is_alive(runner) for runner in runners)


def test_a_second_server_on_the_same_address_says_what_to_do(road: Road, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "paddock", "serve"],
        env={**os.environ, "PADDOCK_HOST": road.url, "PADDOCK_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert result.returncode == 1
    assert "is in use" in result.stderr
    assert "PADDOCK_HOST" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_log_tells_no_prompt_and_no_traceback(own_road: Road) -> None:
    own_road.client.generate("demo", "a very private prompt", options={"num_predict": 20})
    with pytest.raises(ollama.ResponseError):
        own_road.client.generate("nobody", "x")
    own_road.process.send_signal(signal.SIGTERM)
    own_road.process.wait(15)

    assert "private" not in own_road.log()
    assert "Traceback" not in own_road.log()
