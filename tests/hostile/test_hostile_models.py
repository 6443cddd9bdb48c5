"""Hostile model folders through the whole road: a server, its store, real runners. Nothing of theirs may run.

The refusals are printed as a table (`make hostile`).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from rich.table import Table

from tests.hostile import folders
from tests.hostile.folders import Hostile
from tests.road.conftest import Road, start_road, stop_road
from tests.runner.tiny import TinyShape, make_tiny_model

LEAST_CASES = 40
SOURCES = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Refusal:
    """What a client was told, and when."""

    stage: str
    status: int
    message: str


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def good(place: Path) -> Path:
    (place / "good").mkdir()
    return make_tiny_model(place / "good", TinyShape())


@pytest.fixture(scope="module")
def made(place: Path, good: Path) -> dict[str, Path]:
    """Every hostile folder by the name of its attack."""
    return {
        hostile.name: folders.make(good, place / f"model-{number}", hostile, canary(place))
        for number, hostile in enumerate(folders.ALL)
    }


def canary(place: Path) -> Path:
    return place / "canary"


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Road]:
    road = start_road(place / "home", PADDOCK_KEEP_ALIVE="30s")
    yield road
    if road.process.poll() is None:
        stop_road(road)


def submit(road: Road, number: int, folder: Path, question: str = "hi") -> Refusal | None:
    """Upload a folder, make a model of it, and ask it something; None if nothing was refused."""
    with httpx.Client(base_url=road.url, timeout=60) as client:
        digests = {path.name: upload(client, path) for path in sorted(folder.iterdir())}
        name = f"hostile{number}"
        created = client.post("/api/create", json={"model": name, "files": digests, "stream": False})
        if created.status_code != 200:
            return Refusal("create", created.status_code, created.json()["error"])
        try:
            loaded = client.post("/api/generate", json={"model": name, "stream": False})
            if loaded.status_code != 200:
                return Refusal("load", loaded.status_code, loaded.json()["error"])
            answered = client.post("/api/chat", json=chat(name, question))
            if answered.status_code != 200:
                return Refusal("request", answered.status_code, answered.json()["error"])
        finally:
            client.post("/api/generate", json={"model": name, "keep_alive": 0, "stream": False})
            client.request("DELETE", "/api/delete", json={"model": name})
    return None


def chat(name: str, question: str) -> dict[str, object]:
    messages = [{"role": "user", "content": question}]
    return {"model": name, "messages": messages, "stream": False, "options": {"num_predict": 2}}


def upload(client: httpx.Client, path: Path) -> str:
    data = path.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if client.head(f"/api/blobs/{digest}").status_code != 200:
        client.post(f"/api/blobs/{digest}", content=data).raise_for_status()
    return digest


def show(refusals: dict[Hostile, Refusal]) -> None:
    table = Table(title=f"{len(refusals)} hostile model folders", show_lines=False)
    for heading in ("attack", "refused at", "status", "reason"):
        table.add_column(heading)
    for hostile, refusal in refusals.items():
        table.add_row(hostile.name, refusal.stage, str(refusal.status), refusal.message)
    Console(width=160).print(table)


def test_every_hostile_folder_is_refused_by_name_and_nothing_else_is_harmed(served, place, good, made):
    assert submit(served, 999, good) is None, "the good model that the others are made from must work"
    before = {process.pid for process in served.runners()}
    bystander = httpx.post(f"{served.url}/api/chat", json=chat("demo", "hi") | {"keep_alive": 600}, timeout=60)
    resident = {process.pid for process in served.runners()} - before
    assert resident

    with ThreadPoolExecutor(max_workers=3) as clients:
        submitted = [
            clients.submit(submit, served, number, made[hostile.name], hostile.question)
            for number, hostile in enumerate(folders.ALL)
        ]
    refusals = {hostile: answer.result() for hostile, answer in zip(folders.ALL, submitted, strict=True)}

    missed = [hostile.name for hostile, refusal in refusals.items() if refusal is None]
    assert not missed
    show({hostile: refusal for hostile, refusal in refusals.items() if refusal})
    assert len(refusals) >= LEAST_CASES
    for hostile, refusal in refusals.items():
        assert refusal is not None
        assert refusal.stage == hostile.stage, (hostile.name, refusal)
        assert hostile.reason in refusal.message, (hostile.name, refusal)
        assert str(place) not in refusal.message
        assert "Traceback" not in refusal.message
    assert not canary(place).exists()
    assert served.process.poll() is None
    assert resident <= {process.pid for process in served.runners()}
    again = httpx.post(f"{served.url}/api/chat", json=chat("demo", "hi"), timeout=60)
    assert bystander.json()["done"]
    assert again.json()["done"]


CHECK_ALL = """
import sys
from pathlib import Path
from paddock.errors import PaddockError
from paddock.runner.engines.text.model.files import read_config

sys.modules["transformers.dynamic_module_utils"] = None  # whoever imports it fails
for folder in sys.argv[1:]:
    try:
        read_config(Path(folder))
    except PaddockError as error:
        print(error.code)
    else:
        print("accepted")
"""


@pytest.mark.parametrize("optimize", ["", "1"], ids=["plain", "optimized"])
def test_a_runner_that_is_handed_such_a_folder_refuses_it_too(place, made, optimize):
    # How large a tokenizer may be is asked where it is read.
    known_at_create = [each for each in folders.ALL if each.stage == "create" and each not in folders.TOKENIZERS]
    command = [sys.executable, "-c", CHECK_ALL, *(str(made[hostile.name]) for hostile in known_at_create)]
    environment = {"PYTHONPATH": str(SOURCES), "PYTHONOPTIMIZE": optimize}

    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)

    codes = dict(zip((hostile.name for hostile in known_at_create), done.stdout.split(), strict=True))
    assert set(codes.values()) <= {"unsupported_model", "damaged_model"}, codes
    assert not canary(place).exists()


def test_an_optimized_server_refuses_code_all_the_same(place, made):
    road = start_road(place / "optimized", PYTHONOPTIMIZE="1")
    try:
        refusals = {hostile: submit(road, number, made[hostile.name]) for number, hostile in enumerate(folders.CODE)}
    finally:
        stop_road(road)

    for hostile, refusal in refusals.items():
        assert refusal is not None, hostile.name
        assert hostile.reason in refusal.message, (hostile.name, refusal)
    assert not canary(place).exists()
