"""The matcher of shapes: it lets more through than was recorded, and nothing less."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.shapes import differences, stream_differences


@pytest.mark.parametrize(
    ("recorded", "given"),
    [
        ({"a": 1}, {"a": 2.5, "b": None}),
        ({"a": None}, {"a": {"b": 1}}),
        ({"a": []}, {"a": [1, 2]}),
        ({"a": [1]}, {"a": [1, 2, 3]}),
        ({"a": [{"b": 1}, {"c": 1}]}, {"a": [{"c": 2}, {"b": 3}]}),
        ({"status": "pulling this"}, {"status": "pulling that"}),
        ({"type": "text"}, {"type": "text"}),
    ],
)
def test_an_answer_may_say_more_than_was_recorded(recorded: Any, given: Any) -> None:
    assert list(differences(recorded, given)) == []


@pytest.mark.parametrize(
    ("recorded", "given", "difference"),
    [
        ({"a": 1}, {}, "$.a is missing"),
        ({"a": None}, {}, "$.a is missing"),
        ({"a": 1}, {"a": "1"}, "$.a is '1', and was recorded as 1"),
        ({"a": 1}, {"a": True}, "$.a is True, and was recorded as 1"),
        ({"a": 1}, {"a": None}, "$.a is None, and was recorded as 1"),
        ({"a": [1]}, {"a": []}, "$.a is empty"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}, {}]}, "$.a[1].b is missing"),
        ({"type": "text"}, {"type": "image"}, "$.type is 'image', and was recorded as 'text'"),
        ({"done": True}, {"done": False}, "$.done is False, and was recorded as True"),
    ],
)
def test_an_answer_may_not_say_less(recorded: Any, given: Any, difference: str) -> None:
    assert list(differences(recorded, given)) == [difference]


def test_a_stream_has_the_recorded_messages_in_their_order() -> None:
    recorded = [{"type": "start"}, {"type": "end"}]

    assert list(stream_differences(recorded, [{"type": "start"}, {"type": "more"}, {"type": "end"}])) == []
    assert list(stream_differences(recorded, [{"type": "end"}, {"type": "start"}])) != []
    assert list(stream_differences(recorded, [*recorded, {"type": "more"}])) != []
    assert list(stream_differences(recorded, [])) != []
