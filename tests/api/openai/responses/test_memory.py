"""What is kept of responses: within bounds, each for its owner alone."""

from __future__ import annotations

import pytest

from paddock.api.openai.responses.items import InputText, Item, Message, OutputText
from paddock.api.openai.responses.memory import Kept, ResponseMemory


def said(name: str, text: str = "Hi") -> Item:
    return Message(id=name, role="user", content=(InputText(text=text),))


def told(name: str, text: str = "Yes") -> Item:
    return Message(id=name, role="assistant", content=(OutputText(text=text),))


def kept(number: int, given: tuple[Item, ...] = (), text: str = "Yes") -> Kept:
    return Kept(answer=b"{}", given=(*given, said(f"in_{number}")), told=(told(f"out_{number}", text),))


def names(memory: ResponseMemory, owner: str, count: int) -> list[int]:
    """Which of the responses 0 to `count` are there."""
    return [number for number in range(count) if memory.find(owner, f"resp_{number}")]


def test_beyond_the_count_the_oldest_leave() -> None:
    memory = ResponseMemory(max_responses=2)
    for number in range(4):
        memory.keep("me", f"resp_{number}", kept(number))

    assert names(memory, "me", 4) == [2, 3]


def test_beyond_the_bytes_the_oldest_leave() -> None:
    memory = ResponseMemory(max_bytes=3_000)
    for number in range(4):
        memory.keep("me", f"resp_{number}", kept(number, text="x" * 1_000))

    assert names(memory, "me", 4) == [2, 3]


def test_a_response_that_is_larger_than_the_memory_is_not_kept() -> None:
    memory = ResponseMemory(max_bytes=500)
    memory.keep("me", "resp_0", kept(0, text="x" * 1_000))

    assert names(memory, "me", 1) == []


@pytest.mark.parametrize("bounds", [{"max_responses": 4}, {"max_bytes": 6_000}])
def test_whoever_holds_most_makes_room(bounds: dict[str, int]) -> None:
    memory = ResponseMemory(**bounds)
    memory.keep("other", "resp_0", kept(0, text="x" * 1_000))
    for number in range(10):
        memory.keep("me", f"resp_{number}", kept(number, text="x" * 1_000))

    assert names(memory, "other", 1) == [0]
    assert names(memory, "me", 10) == [7, 8, 9]


def test_a_later_response_stands_without_those_before_it() -> None:
    memory = ResponseMemory()
    memory.keep("me", "resp_0", kept(0))
    first = memory.find("me", "resp_0")
    assert first is not None
    memory.keep("me", "resp_1", kept(1, first.conversation))

    assert memory.forget("me", "resp_0")
    second = memory.find("me", "resp_1")

    assert second is not None
    assert [item.id for item in second.conversation] == ["in_0", "out_0", "in_1", "out_1"]
    assert set(memory.items("me", {"in_0", "out_0"})) == {"in_0", "out_0"}


def test_nobody_sees_deletes_or_refers_to_what_is_anothers() -> None:
    memory = ResponseMemory()
    memory.keep("me", "resp_0", kept(0))

    assert memory.find("you", "resp_0") is None
    assert memory.items("you", {"in_0"}) == {}
    assert not memory.forget("you", "resp_0")
    assert memory.find("me", "resp_0") is not None


def test_what_is_deleted_leaves_nothing_behind() -> None:
    memory = ResponseMemory()
    memory.keep("me", "resp_0", kept(0))

    assert memory.forget("me", "resp_0")
    assert not memory.forget("me", "resp_0")
    assert memory.items("me", {"in_0", "out_0"}) == {}
    assert vars(memory)["_shelves"] == {}
