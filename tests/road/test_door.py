"""The door of a real server: nothing that is said or secret in its logs, and keys that the commands make."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.road.conftest import Road, road_from, start_road, stop_road

CANARY = "zanzibar-canary"
SECRET = "pk-secretcanarysecretcanary"


def everything_written(road: Road) -> str:
    """The server's log, and those of its runners."""
    files = [path for path in road.home.rglob("*") if path.is_file() and path.suffix in (".log", ".previous", ".1", "")]
    return "".join(path.read_text(errors="replace") for path in files if "models" not in path.parts)


def requests_with_canaries() -> list[tuple[str, dict[str, Any]]]:
    """One for each dialect and field that people would not want to find in a log, and some that fail."""
    told = f"Who are you? {CANARY}"
    options = {"num_predict": 8, "stop": [CANARY], "seed": 1}
    messages = [{"role": "system", "content": CANARY}, {"role": "user", "content": told}]
    return [
        ("/api/generate", {"model": "demo", "prompt": told, "system": CANARY, "think": False, "options": options}),
        ("/api/generate", {"model": "demo", "prompt": told, "template": "{{ " + CANARY, "options": options}),
        ("/api/generate", {"model": "demo", "prompt": told, "format": {"enum": [CANARY]}, "options": options}),
        ("/api/generate", {"model": "demo", "prompt": told, "options": {CANARY: 1}}),
        ("/api/chat", {"model": "demo", "messages": messages, "options": options}),
        ("/api/chat", {"model": "demo", "messages": [{"role": CANARY, "content": told}], "options": options}),
        ("/v1/chat/completions", {"model": "demo", "messages": messages, "max_tokens": 8, "user": CANARY}),
        ("/v1/completions", {"model": "demo", "prompt": told, "max_tokens": 8}),
        ("/v1/responses", {"model": "demo", "input": told, "instructions": CANARY, "max_output_tokens": 16}),
        ("/v1/messages", {"model": "demo", "messages": messages[1:], "system": CANARY, "max_tokens": 8}),
        ("/api/embed", {"model": "demo", "input": told}),
    ]


@pytest.mark.parametrize("debug", ["", "1"], ids=["as it is", "debug"])
def test_what_is_said_and_what_is_secret_is_in_no_log(tmp_path: Path, debug: str) -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET, "Cookie": f"session={SECRET}"}
    with road_from(tmp_path, PADDOCK_DEBUG=debug, PADDOCK_API_KEY=SECRET) as road:
        answers = []
        with httpx.Client(base_url=road.url, headers=headers, timeout=60) as client:
            for path, body in requests_with_canaries():
                answers.append(client.post(f"{path}?key={SECRET}", json={**body, "stream": False}))
            client.post("/api/generate", content=f'{{"model": "demo", "prompt": "{CANARY}'.encode())
            client.post("/api/show", json={"model": "x\nFORGED line"})
            client.get(f"/{CANARY}%0aFORGED%20line")
        said = answers[0].json()["response"]
        stop_road(road)
        written = everything_written(road)

    assert [answer.status_code for answer in answers].count(200) >= 7, [answer.text[:99] for answer in answers]
    assert "listens on" in written
    for secret in (CANARY, SECRET, said.strip()[:20]):
        assert secret
        assert secret not in written, [line for line in written.splitlines() if secret in line][:3]
    assert not [line for line in written.splitlines() if line.startswith("FORGED")]


@contextmanager
def open_to_others(home: Path) -> Iterator[Road]:
    road = start_road(home, bind="0.0.0.0")
    try:
        yield road
    finally:
        road.client.close()
        stop_road(road)


def paddock(road: Road, *arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
    """A command, in the server's home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PADDOCK_", "OLLAMA_"))}
    address = road.url.removeprefix("http://")
    environment = {**kept, "PADDOCK_HOME": str(road.home), "PADDOCK_HOST": address, "PADDOCK_API_KEY": key}
    command = [sys.executable, "-m", "paddock", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_server_for_others_is_shut_until_a_key_is_made_and_shut_again_when_it_is_revoked(tmp_path: Path) -> None:
    with open_to_others(tmp_path) as road:
        assert "make one with `paddock key create NAME`" in road.log()
        refused = paddock(road, "list")
        assert (refused.returncode, "PADDOCK_API_KEY" in refused.stderr) == (1, True)

        key = paddock(road, "key", "create", "laptop", "--scope", "infer").stdout.strip()
        assert "demo:latest" in paddock(road, "list", key=key).stdout
        refused = paddock(road, "rm", "demo", key=key)
        assert (refused.returncode, "may only use models" in refused.stderr) == (1, True)
        ends = [paddock(road, "key", "revoke", "laptop").returncode, paddock(road, "list", key=key).returncode]

    assert ends == [0, 1]
