"""Bytes that are no HTTP, or that are in doubt: refused or dropped, and nothing suffers."""

from __future__ import annotations

import re
import socket

import pytest
from hypothesis import given

from tests.fuzz.raw_http import DOUBTFUL, HOST, MALFORMED, conversations, get
from tests.fuzz.subject import SECONDS, Subject, campaign, share

DAMAGED = 0.2
"""Their share of all cases."""
PATIENCE_SECONDS = 0.3

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


def statuses_of(subject: Subject, data: bytes, answer: bytes) -> list[int]:
    """What the server said to these bytes; AssertionError if it was hurt by them, or blames itself."""
    statuses = [int(found) for found in _STATUS.findall(answer)]
    assert not (damage := subject.damage()), f"{damage}\n{subject.as_bytes(data)}"
    assert all(status < 500 for status in statuses), f"{statuses}\n{subject.as_bytes(data)}"
    return statuses


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_do_no_harm(subject: Subject, name: str) -> None:
    data = MALFORMED[name]

    statuses = statuses_of(subject, data, subject.send(data, PATIENCE_SECONDS))

    print(f"{name}: {statuses}")


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_request_whose_end_is_in_doubt_is_never_answered_as_two(subject: Subject, name: str) -> None:
    data = DOUBTFUL[name]

    answer = subject.send(data, PATIENCE_SECONDS)

    assert b'"version"' not in answer, f"a request was smuggled\n{subject.as_bytes(data)}"
    assert len(statuses_of(subject, data, answer)) <= 1


def test_a_body_that_breaks_after_its_answer_does_no_harm(subject: Subject) -> None:
    with socket.create_connection(("127.0.0.1", subject.port), timeout=SECONDS) as connection:
        connection.sendall(get(b"GET /api/version HTTP/1.1", HOST + b"Transfer-Encoding: chunked\r\n"))
        answer = b""
        while b"}" not in answer:
            answer += connection.recv(65536)
        connection.sendall(b"zz\r\n")

        assert connection.recv(65536) == b""

    assert not (damage := subject.damage()), damage


def test_damaged_conversations_do_no_harm(subject: Subject) -> None:
    @campaign(share(DAMAGED))
    @given(data=conversations())
    def send(data: bytes) -> None:
        statuses_of(subject, data, subject.send(data))

    send()
