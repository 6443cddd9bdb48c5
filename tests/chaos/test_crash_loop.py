"""A model that keeps crashing is left alone for a while and says why; others are not touched, and it recovers."""

from __future__ import annotations

import json
import time
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.conftest import StartRoad
from tests.chaos.roads import body, client, runner_pids, stream
from tests.road.conftest import Road

DEFAULTS = {"PADDOCK_BREAKER_CRASHES": ""}
"""The limits that a server has by itself."""


def start(
    start_fake: StartRoad, home: Path, settings: dict[str, str] | None = None, **behaviour: object
) -> tuple[Road, Path, Path]:
    """A server on which "bad" misbehaves while a file exists, and the file that counts its starts."""
    flag, starts = home / "broken", home / "starts"
    flag.touch()
    bad = {"only_while": str(flag), "count_starts_in": str(starts), "last_words": "fatal error: lost", **behaviour}
    road = start_fake({}, FAKE_BEHAVIOURS=json.dumps({"bad:latest": bad}), **DEFAULTS, **(settings or {}))
    road.client.create("bad", from_="demo", parameters={"temperature": 0.5})
    return road, flag, starts


async def statuses(session: aiohttp.ClientSession, road: Road, count: int) -> list[tuple[int, str, str]]:
    seen = []
    for _ in range(count):
        async with session.post(f"{road.url}/api/generate", json={**body("bad"), "stream": False}) as response:
            answer = await response.json()
            seen.append((response.status, response.headers.get("Retry-After", ""), str(answer.get("error", ""))))
    return seen


@pytest.mark.parametrize("moment", ["start", "load", "first_token"])
async def test_three_crashes_open_the_breaker(start_fake: StartRoad, short_home: Path, moment: str) -> None:
    road, _, starts = start(start_fake, short_home, die_at=moment)
    async with client() as session:
        seen = await statuses(session, road, 6)
    refused = [answer for answer in seen if answer[0] == 503]
    assert len(starts.read_bytes()) == 3
    assert [status for status, _, _ in seen][-3:] == [503, 503, 503]
    assert all(1 <= int(retry_after) <= 10 for _, retry_after, _ in refused)
    assert all("fatal error: lost" in sentence for _, _, sentence in seen), seen
    assert {status for status, _, _ in seen} <= {502, 503}


async def test_others_are_served_meanwhile_and_a_fixed_model_comes_back(
    start_fake: StartRoad, short_home: Path
) -> None:
    road, flag, _ = start(start_fake, short_home, die_at="load")
    async with client() as session:
        await stream(session, road.url, "demo")
        pids = runner_pids(road)
        await statuses(session, road, 3)
        began = time.monotonic()
        assert (await stream(session, road.url, "demo")).lines[-1]["done"]
        assert time.monotonic() - began < 1
        assert set(pids) <= set(runner_pids(road))
        flag.unlink()
        assert (await statuses(session, road, 1))[0][0] == 503


async def test_no_model_goes_for_one_that_is_not_started(start_fake: StartRoad, short_home: Path) -> None:
    """There is place for one model only, which a model that keeps crashing would need."""
    road, _, starts = start(start_fake, short_home, {"PADDOCK_MAX_LOADED_MODELS": "1"}, die_at="load")
    async with client() as session:
        await statuses(session, road, 3)
        await stream(session, road.url, "demo")
        pids = runner_pids(road)
        assert [status for status, _, _ in await statuses(session, road, 3)] == [503, 503, 503]
    assert len(starts.read_bytes()) == 3
    assert runner_pids(road) == pids
    assert [model.model for model in road.client.ps().models] == ["demo:latest"]


@pytest.mark.slow
async def test_a_fixed_model_is_tried_again_after_the_pause(start_fake: StartRoad, short_home: Path) -> None:
    road, flag, _ = start(start_fake, short_home, die_at="load")
    async with client() as session:
        *_, (_, retry_after, _) = await statuses(session, road, 4)
        flag.unlink()
        time.sleep(int(retry_after))  # noqa: ASYNC251 -- the server's own clock is waited for
        assert [status for status, _, _ in await statuses(session, road, 2)] == [200, 200]


async def test_a_request_without_a_word_is_tried_once_more(start_fake: StartRoad, short_home: Path) -> None:
    """The runner dies at its first token, is replaced, and the client never learns of it."""
    road, _, starts = start(start_fake, short_home, die_at="first_token", frame_seconds=0.3)
    async with client() as session:
        assert [status for status, _, _ in await statuses(session, road, 1)] == [502]
    assert len(starts.read_bytes()) == 2
