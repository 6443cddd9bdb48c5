"""A chat and a picture at once, on memory for one of the two models, with real runners: both come, again and again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from paddock.config import Config
from paddock.scheduler.defaults import GIB, Machine
from paddock.scheduler.order import LoadWish, order
from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName
from tests.budget.fleet import HANG_SECONDS, Gauge
from tests.road.conftest import Road, road_from
from tests.runner.engines.image.tiny_folders import make_tiny_z_image
from tests.runner.tiny import TinyShape, make_tiny_model

SLACK_BYTES = 8 * 1024 * 1024
SIDE = 64
CHAT = {"model": "talker", "messages": [{"role": "user", "content": "the fox"}], "stream": False}
PICTURE = {"model": "painter", "prompt": "a red circle", "width": SIDE, "height": SIDE, "steps": 2, "stream": False}


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[tuple[Road, int]]:
    """A server whose budget holds either model and not both, and that budget."""
    library = Library(tmp_path / "home" / "models")
    folders = {"talker": tmp_path / "talker", "painter": tmp_path / "painter"}
    for folder in folders.values():
        folder.mkdir()
    make_tiny_model(folders["talker"], TinyShape(hidden=64, layers=2, context=1024))
    make_tiny_z_image(folders["painter"], steps=2, width=SIDE, height=SIDE)
    promised = []
    for name, folder in folders.items():
        model = import_folder(library, ModelName.parse(name), folder)
        promised.append(order(model, LoadWish(), Config(), Machine(main_bytes=8 * GIB)).need.total_bytes)
    limit_bytes = max(promised) + SLACK_BYTES
    assert sum(promised) > limit_bytes
    with road_from(tmp_path / "home", PADDOCK_MEMORY_LIMIT=str(limit_bytes), PADDOCK_LOAD_TIMEOUT="40s") as road:
        yield road, limit_bytes


def take_turns(road: Road, limit_bytes: int, rounds: int) -> None:
    """Both at once so many times; each answer is the same as in the first round."""
    with Gauge(road) as gauge:
        texts, pictures = asyncio.run(_rounds(road, rounds))
    stops = re.findall(r"event=stop model=(\S+) .*why=(.*)", road.log())
    evicted = [name for name, why in stops if "needs its memory" in why]
    print(
        f"\n{rounds} rounds: {len(evicted)} evictions, at most {gauge.most_bytes / 1e6:.0f} MB of "
        f"{limit_bytes / 1e6:.0f} MB held by {gauge.most_runners} runners"
    )
    assert len(texts) == len(pictures) == rounds
    assert len(set(texts)) == 1
    assert len(set(pictures)) == 1
    assert set(evicted) == {"talker:latest", "painter:latest"}
    assert len(evicted) >= rounds
    assert gauge.most_bytes <= limit_bytes


async def _rounds(road: Road, rounds: int) -> tuple[list[str], list[str]]:
    texts, pictures = [], []
    async with httpx.AsyncClient(base_url=road.url, timeout=HANG_SECONDS) as client:
        for _ in range(rounds):
            chat, picture = await asyncio.gather(
                _asked(client, "/api/chat", CHAT | {"options": {"temperature": 0, "num_predict": 8, "seed": 1}}),
                _asked(client, "/api/generate", PICTURE | {"options": {"seed": 1}}),
            )
            texts.append(chat["message"]["content"])
            pictures.append(picture["image"])
    return texts, pictures


async def _asked(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["done"]
    return found


def test_a_chat_and_a_picture_both_come_on_memory_for_one_of_them(narrow: tuple[Road, int]) -> None:
    take_turns(*narrow, rounds=2)


@pytest.mark.slow
def test_twenty_chats_and_pictures_take_turns_without_a_hang(narrow: tuple[Road, int]) -> None:
    take_turns(*narrow, rounds=20)
