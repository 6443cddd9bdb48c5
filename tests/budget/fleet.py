"""Three models that do not fit together, the clients that want them all, and what their runners were seen to hold."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from paddock.config import Config
from paddock.scheduler.defaults import GIB, Machine
from paddock.scheduler.order import LoadWish, order
from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName
from tests.road.conftest import Road
from tests.runner.tiny import TinyShape, make_tiny_model

SHAPES = {
    "small": TinyShape(hidden=32, layers=2, context=1024),
    "middle": TinyShape(hidden=64, layers=3, context=1024),
    "large": TinyShape(hidden=128, layers=3, context=1024),
}
PROMPTS = ("the fox", "a long winter in the north", "1, 2, 3, 4,", "Once upon a time there was a tortoise. " * 6)
ANSWER_TOKENS = 16
SAMPLES_PER_SECOND = 50
HANG_SECONDS = 120.0


def fill_store(home: Path) -> dict[str, int]:
    """Put the models where a server with this home finds them; returns what each will be promised, in bytes."""
    library = Library(home / "models")
    for name, shape in SHAPES.items():
        folder = home / "checkpoints" / name
        folder.mkdir(parents=True)
        import_folder(library, ModelName.parse(name), make_tiny_model(folder, shape))
    models = {name: library.get(ModelName.parse(name)) for name in SHAPES}
    return {
        name: order(model, LoadWish(), Config(), Machine(main_bytes=8 * GIB)).need.total_bytes
        for name, model in models.items()
    }


def private_bytes(process: psutil.Process) -> int:
    """Main memory that a process alone holds: what it does not share with others, mapped files included."""
    memory = process.memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def _is_runner(process: psutil.Process) -> bool:
    return "--listen-fd" in process.cmdline()


@dataclass
class Gauge:
    """Looks at the runners of a server from outside, from a thread of its own, until it is left."""

    road: Road
    most_bytes: int = 0
    """Of all runners together, at one moment."""
    samples: int = 0
    most_runners: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Gauge:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        fleets: list[list[psutil.Process]] = []
        due = time.monotonic()
        while not self._over.is_set():
            if self.samples % 5 == 0:  # finding them takes much longer than looking at them
                with contextlib.suppress(psutil.Error):
                    fleets = self._find()
            held = [sum(map(self._held, fleet)) for fleet in fleets]
            self.samples += 1
            self.most_bytes = max(self.most_bytes, sum(held))
            self.most_runners = max(self.most_runners, sum(size > 0 for size in held))
            due += 1 / SAMPLES_PER_SECOND
            self._over.wait(max(0.0, due - time.monotonic()))

    def _find(self) -> list[list[psutil.Process]]:
        """Each runner with the processes that it has started, as soon as those are no longer its own image."""
        runners = [child for child in psutil.Process(self.road.process.pid).children() if _is_runner(child)]
        return [[runner, *(child for child in runner.children() if not _is_runner(child))] for runner in runners]

    @staticmethod
    def _held(runner: psutil.Process) -> int:
        try:
            return private_bytes(runner)
        except psutil.Error:
            return 0


@dataclass
class Figures:
    """How the requests of all clients went."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Model, prompt, the text that was expected, the one that came."""


async def text_alone(client: httpx.AsyncClient, model: str, prompt: str) -> str:
    """What a model says when nobody else asks anything."""
    answer = await client.post("/api/generate", json={**_body(model, prompt), "stream": False})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["response"])


def _body(model: str, prompt: str, **more: object) -> dict[str, Any]:
    options: dict[str, object] = {"temperature": 0, "num_predict": ANSWER_TOKENS}
    if "num_ctx" in more:
        options["num_ctx"] = more.pop("num_ctx")
    return {"model": model, "prompt": prompt, "raw": True, "options": options, **more}


async def ask(
    client: httpx.AsyncClient, source: random.Random, expected: dict[tuple[str, str], str], figures: Figures
) -> None:
    """One request of a client that sometimes fixes an option, sometimes unloads, and sometimes goes away."""
    model, prompt = source.choice(sorted(expected))
    more: dict[str, object] = {}
    if source.random() < 0.1:
        more["num_ctx"] = source.choice((512, 1024))
    if source.random() < 0.1:
        more["keep_alive"] = 0
    patience = source.choice((0.01, 0.3, 2.0)) if source.random() < 0.2 else HANG_SECONDS
    try:
        async with asyncio.timeout(patience):
            text = await _stream(client, _body(model, prompt, **more))
    except TimeoutError:
        figures.outcomes["hung" if patience == HANG_SECONDS else "cancelled"] += 1
        return
    figures.outcomes["answered"] += 1
    if text != expected[model, prompt]:
        figures.wrong.append((model, prompt, expected[model, prompt], text))


async def _stream(client: httpx.AsyncClient, body: dict[str, Any]) -> str:
    text: list[str] = []
    async with client.stream("POST", "/api/generate", json=body) as answer:
        async for line in answer.aiter_lines():
            piece = json.loads(line)
            text.append(piece.get("response", f"<{piece.get('error')}>"))
    return "".join(text)


async def run_clients(road: Road, clients: int, requests: int, seed: int) -> Figures:
    """So many requests from so many clients, each of which asks one after the other."""
    figures = Figures()
    async with httpx.AsyncClient(base_url=road.url, timeout=None) as client:
        expected = {(model, prompt): await text_alone(client, model, prompt) for model in SHAPES for prompt in PROMPTS}

        async def client_of(number: int) -> None:
            source = random.Random(f"{seed}.{number}")
            for _ in range(number, requests, clients):
                await ask(client, source, expected, figures)

        await asyncio.gather(*map(client_of, range(clients)))
    return figures
