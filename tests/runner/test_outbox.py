"""Words that come fast wake the event loop together; what anybody waits for wakes it at once."""

from __future__ import annotations

import threading

import pytest

from paddock.protocol import Text
from paddock.runner import outbox as module
from paddock.runner.loop import Frames
from paddock.runner.outbox import Outbox
from tests.fakes.waiting import until
from tests.runner.scripted import DONE


def words(text: str) -> Frames:
    return [(1, Text(content=text))]


async def begun() -> tuple[Outbox, list[Frames]]:
    """One that has told the first words, and what it delivers."""
    delivered: list[Frames] = []
    outbox = Outbox(delivered.append)
    outbox.put(words("a"), can_wait=True)
    await until(lambda: delivered)
    return outbox, delivered


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 3600.0)


@pytest.mark.usefixtures("patient")
async def test_what_comes_after_words_waits_until_something_cannot() -> None:
    outbox, delivered = await begun()

    outbox.put(words("b"), can_wait=True)
    outbox.put(words("c"), can_wait=True)
    outbox.put([(1, DONE)], can_wait=False)
    await until(lambda: len(delivered) > 1)

    assert delivered == [words("a"), [*words("b"), *words("c"), (1, DONE)]]


async def test_what_waits_is_told_though_nothing_follows() -> None:
    outbox, delivered = await begun()

    outbox.put(words("b"), can_wait=True)
    await until(lambda: len(delivered) > 1)

    assert delivered == [words("a"), words("b")]


async def test_words_after_a_silence_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 0.0)
    outbox, delivered = await begun()
    await until(lambda: not outbox._looks_soon)

    monkeypatch.setattr(module, "TOGETHER_SECONDS", 3600.0)
    outbox.put(words("b"), can_wait=True)
    await until(lambda: len(delivered) > 1)


async def test_nothing_is_lost_or_told_twice_between_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 0.0)
    found: Frames = []
    outbox = Outbox(found.extend)
    sent = [words(str(number)) for number in range(20_000)]

    def put_all() -> None:
        for frames in sent:
            outbox.put(frames, can_wait=True)

    thread = threading.Thread(target=put_all)
    thread.start()
    await until(lambda: len(found) == len(sent), within_seconds=30)
    thread.join()

    assert found == [frame for frames in sent for frame in frames]
