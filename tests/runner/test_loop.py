"""What the work loop tells of its steps, and what of it can wait."""

from __future__ import annotations

import pytest

from paddock.protocol import Failed, Sampling
from paddock.runner.engines.base import Engine, Prompt
from paddock.runner.loop import Frames, WorkLoop
from tests.fakes.waiting import until
from tests.runner.scripted import ScriptedEngine


class Heard:
    """What a loop told, in order."""

    def __init__(self) -> None:
        self.steps: list[tuple[list[int], bool]] = []
        """Whom each step had frames for, and whether they could wait."""

    def loading(self, progress: float) -> None:
        pass

    def loaded(self, engine: Engine) -> None:
        pass

    def load_failed(self, failure: Failed) -> None:
        raise AssertionError(failure)

    def stepped(self, frames: Frames, *, can_wait: bool) -> None:
        self.steps.append(([request_id for request_id, _ in frames], can_wait))


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def loop(engine: ScriptedEngine, heard: Heard) -> WorkLoop:
    loop = WorkLoop(lambda: engine, heard)
    loop.start()
    return loop


def submit(loop: WorkLoop, request_id: int) -> None:
    loop.submit(request_id, Prompt(tokens=(1,), sampling=Sampling()))


async def test_only_words_that_go_on_can_wait(loop: WorkLoop, engine: ScriptedEngine, heard: Heard) -> None:
    submit(loop, 1)
    engine.allow(2)
    await until(lambda: len(heard.steps) == 2)
    submit(loop, 2)
    engine.allow(3)
    await until(lambda: len(heard.steps) == 5)
    engine.length = 6
    engine.allow(1)
    await until(lambda: len(heard.steps) == 6)

    assert [can_wait for who, can_wait in heard.steps if who == [1]] in ([False, True], [False, True, True])
    both = [can_wait for who, can_wait in heard.steps if who == [1, 2]]
    assert both == [False] + [True] * (len(both) - 1)
    assert heard.steps[-1] == ([1, 1, 2], False)


async def test_a_request_that_left_in_silence_holds_nobody_up(
    loop: WorkLoop, engine: ScriptedEngine, heard: Heard
) -> None:
    submit(loop, 1)
    loop.cancel(1)
    submit(loop, 2)
    engine.allow(3)
    await until(lambda: len(heard.steps) >= 3)

    assert heard.steps[-1] == ([2], True)
    assert not loop._silent
