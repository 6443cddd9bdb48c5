"""The forms of the log."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from paddock.logs import JsonLines, TextLines, fields_of


def record(message: str, *values: object, request_id: str = "") -> logging.LogRecord:
    found = logging.LogRecord("paddock.room", logging.INFO, __file__, 1, message, values, None)
    found.request_id = request_id
    return found


def test_a_line_of_text_has_the_time_the_level_who_and_what() -> None:
    line = TextLines().format(record("event=load model=%s", "tiny"))

    assert line[4:5] == "-"
    assert line.endswith(" INFO    paddock.room  event=load model=tiny")


def test_a_line_that_belongs_to_a_request_says_to_which() -> None:
    assert TextLines().format(record("hello", request_id="req_1")).endswith("hello request_id=req_1")
    assert json.loads(JsonLines().format(record("hello", request_id="req_1")))["request_id"] == "req_1"


def test_a_line_of_json_has_the_fields_of_its_event_as_what_they_are() -> None:
    line = JsonLines().format(
        record(
            "event=start model=%s key=%.4s generation=%d seconds=%.3f error=%+.1f%% why=%r note='as it is'",
            *("tiny:latest", "abcdefgh", 7, 1.23456, -2.34, 'it "fits"'),
        )
    )

    found = json.loads(line)
    assert "\n" not in line
    assert found["event"] == "start"
    assert (found["model"], found["key"], found["generation"]) == ("tiny:latest", "abcd", 7)
    assert (found["seconds"], found["error"], found["why"]) == (1.235, -2.3, 'it "fits"')
    assert found["note"] == "as it is"
    assert (found["level"], found["logger"]) == ("info", "paddock.room")
    assert found["message"].startswith("event=start model=tiny:latest key=abcd generation=7 seconds=1.235 ")
    assert found["time"].endswith("+00:00")


@pytest.mark.parametrize(
    ("message", "values"),
    [("Paddock listens on %s", ("x",)), ("event=odd what=%s and %s", ("a", "b")), ("event=plain", ())],
)
def test_what_has_no_named_fields_is_a_message_all_the_same(message: str, values: tuple[object, ...]) -> None:
    found = json.loads(JsonLines().format(record(message, *values)))

    assert found["message"] == (message % values if values else message)


def test_fields_never_take_the_place_of_what_every_line_has() -> None:
    found = json.loads(JsonLines().format(record("event=odd level=%s message=%s", "fatal", "forged")))

    assert (found["level"], found["message"]) == ("info", "event=odd level=fatal message=forged")


def test_a_line_of_json_stays_one_line_with_an_exception_in_it() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        found = record("event=crashed")
        found.exc_info = sys.exc_info()

    line = JsonLines().format(found)

    assert "\n" not in line
    assert "ValueError: two\nlines" in json.loads(line)["exception"]


def test_an_event_without_values_has_its_fields() -> None:
    assert fields_of(record("event=spare_given_up why='memory is short'")) == {
        "event": "spare_given_up",
        "why": "memory is short",
    }
