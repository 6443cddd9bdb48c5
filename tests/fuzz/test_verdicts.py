"""What counts as a defect when nonsense is answered."""

from __future__ import annotations

import pytest

from tests.fuzz.verdicts import damage_in, fault_of

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (500, JSON, b'{"error":"Something went wrong."}'),
        (502, JSON, b'{"error":"The runner of x ended."}'),
        (503, JSON, b'{"error":"The server is busy."}'),
        (507, JSON, b'{"error":"No."}'),
        (400, JSON, b"Bad Request"),
        (400, JSON, b'{"error":""}'),
        (400, JSON, b'{"error":"cannot open /home/me/x"}'),
        (400, JSON, b'{"error":{"message":"msgspec.ValidationError","type":"x"}}'),
        (200, JSON, b'{"value":NaN}'),
        (200, {"content-type": "application/x-ndjson"}, b'{"a":1}\n{"a":\n'),
        (200, {"content-type": "text/event-stream"}, b'event: x\ndata: {"a":1}{\n\n'),
    ],
)
def test_defects_are_found(status: int, headers: dict[str, str], body: bytes) -> None:
    assert fault_of("/api/chat", "", status, headers, body)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, JSON, b'{"value":1}'),
        (200, {"content-type": "text/event-stream"}, b'data: {"a":1}\n\ndata: [DONE]\n\n'),
        (400, JSON, b'{"error":"\\"model\\" must be of type str, not int."}'),
        (404, JSON, b'{"type":"error","error":{"type":"not_found_error","message":"no such model"}}'),
        (400, JSON, b'{"error":"model \'/home/x\' not found"}'),
        (507, JSON, b'{"error":"The model needs more memory than there is."}'),
    ],
)
def test_what_is_as_it_should_be_is_none(status: int, headers: dict[str, str], body: bytes) -> None:
    assert not fault_of("/api/chat", "/home/x", status, headers, body)


def test_the_log_tells_of_damage() -> None:
    assert damage_in("INFO fine\nTraceback (most recent call last):\n  File") != ""
    assert damage_in("WARNING event=crash model=x kind=hang") != ""
    assert damage_in("INFO event=stop model=x reason=keep_alive\nINFO event=start model=x") == ""
