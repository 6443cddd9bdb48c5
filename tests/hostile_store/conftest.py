"""A watched server in a folder that is full of canaries, and the tallies of what was tried on it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hostile_store.strangers import TOKEN, Strangers
from tests.hostile_store.watching import Tally, Watched, show
from tests.road.conftest import Road, start_road, stop_road
from tests.store.making import write_model

WATCHED = ("-m", "tests.hostile_store.watched", "serve")
CANARIES = ("canary", "secrets/canary", "evil.json", "etc/passwd", "x", "models.canary", "home.canary")
BASE = "base"
"""A model that is really there."""


@dataclass
class Ground:
    """A server, what lies around its store, and what it did."""

    road: Road
    place: Path
    watched: Watched
    client: httpx.Client

    def ask(self, method: str, path: str, body: object = None, content: bytes | None = None) -> httpx.Response:
        """One request; bodies may hold what is no text."""
        data = json.dumps(body).encode() if content is None else content
        return self.client.request(method, path, content=data)

    def around(self) -> dict[str, str]:
        """Everything outside of the server's own folders, with its content."""
        own = (*self.watched.own, self.watched.file)
        paths = [path for path in sorted(self.place.rglob("*")) if not any(path.is_relative_to(one) for one in own)]
        return {str(path): _fingerprint(path) for path in paths}


def _fingerprint(path: Path) -> str:
    status = path.lstat()
    content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return f"{status.st_ino} {status.st_mode} {status.st_size} {content}"


def start_ground(place: Path, internet: dict[str, Any] | None = None, **settings: str) -> Ground:
    """A watched server below a new folder; whatever it does from now on is seen."""
    for name in CANARIES:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"nobody may read {name}")
    (place / "watch").mkdir()
    own = tuple(place / name for name in ("server/home", "server/models"))
    file = place / "watch" / "events"
    environment = {
        "PADDOCK_MODELS": str(own[1]),
        "WATCH_FILE": str(file),
        "WATCH_INTERNET": json.dumps(internet or {}),
        "HF_HOME": str(own[0] / "hf"),
        "HOME": str(own[0]),  # where other programs' models are looked for
        **{name: "" for name in os.environ if name.lower().endswith("_proxy")},
        **settings,
    }
    road = start_road(own[0], WATCHED, **environment)
    client = httpx.Client(base_url=road.url, timeout=60, trust_env=False)
    return Ground(road, place, Watched(file, own), client)


def stop_ground(ground: Ground) -> None:
    ground.client.close()
    if ground.road.process.poll() is None:
        stop_road(ground.road)


def upload_base(ground: Ground) -> dict[str, str]:
    """Make the model `base`; the digests of its files by name."""
    digests = {}
    for path in sorted(write_model(ground.place / "server" / "home" / "upload").iterdir()):
        digests[path.name] = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        ground.ask("POST", f"/api/blobs/{digests[path.name]}", content=path.read_bytes()).raise_for_status()
    ground.ask("POST", "/api/create", {"model": BASE, "files": digests, "stream": False}).raise_for_status()
    return digests


@contextlib.contextmanager
def looking(
    ground: Ground, tally: Tally, strangers: Strangers | None = None, allowed: Collection[str] = ()
) -> Iterator[Tally]:
    """Whatever happens in the block leaves everything around the store alone, and goes to these addresses only."""
    if strangers:
        strangers.forget()
    around = ground.around()
    ground.watched.forget()
    yield tally
    outside, elsewhere = ground.watched.outside(), ground.watched.off_origin(allowed)
    trapped, leaks = (strangers.trap.seen, strangers.leaks) if strangers else ([], [])
    tally.opens_outside, tally.connections_off_origin = len(outside), len(elsewhere) + len(trapped)
    tally.credentials_leaked = len(leaks)
    assert not outside[:5]
    assert not elsewhere[:5]
    assert not trapped
    assert not leaks
    assert ground.around() == around
    assert TOKEN not in ground.road.log()
    assert "Traceback" not in ground.road.log()
    assert ground.road.process.poll() is None


def title_of(request: pytest.FixtureRequest, corpus: str) -> str:
    return f"{corpus}: " + request.node.name.removeprefix("test_").replace("_", " ").replace("[", ", ").rstrip("]")


@pytest.fixture(scope="session")
def tallies() -> Iterator[list[Tally]]:
    """All that was tried, shown at the end."""
    found: list[Tally] = []
    yield found
    show(found)
