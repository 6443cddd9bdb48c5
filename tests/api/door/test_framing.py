"""The shorter road writes what h11 writes, to the byte."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.api.door.framing import ShortConnection

HEADERS = [(b"content-type", b"text/plain")]


def asked(connection: h11.Connection, method: bytes = b"GET", version: bytes = b"1.1") -> h11.Connection:
    connection.receive_data(b"%b / HTTP/%b\r\nHost: here\r\n\r\n" % (method, version))
    assert type(connection.next_event()) is h11.Request
    assert type(connection.next_event()) is h11.EndOfMessage
    return connection


def said(connection: h11.Connection, chunks: list[bytes], headers=HEADERS, status: int = 200) -> list[bytes]:
    """What each event of an answer writes."""
    events = [h11.Response(status_code=status, headers=headers), *map(h11.Data, chunks), h11.EndOfMessage()]
    return [connection.send(event) for event in events]


@given(st.lists(st.binary(max_size=40)), st.sampled_from([b"GET", b"POST"]), st.sampled_from([b"1.0", b"1.1"]))
def test_an_answer_of_unknown_length_is_what_h11_writes(chunks, method, version):
    ours, theirs = (asked(kind(h11.SERVER), method, version) for kind in (ShortConnection, h11.Connection))

    assert b"".join(said(ours, chunks)) == b"".join(said(theirs, chunks))
    assert ours.states == theirs.states


@given(st.lists(st.binary(max_size=40)))
def test_an_answer_of_known_length_is_what_h11_writes(chunks):
    headers = [*HEADERS, (b"content-length", str(sum(map(len, chunks))).encode())]
    ours, theirs = (asked(kind(h11.SERVER)) for kind in (ShortConnection, h11.Connection))

    assert b"".join(said(ours, chunks, headers)) == b"".join(said(theirs, chunks, headers))


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_an_answer_without_a_body_is_what_h11_writes(method, status):
    ours, theirs = (asked(kind(h11.SERVER), method) for kind in (ShortConnection, h11.Connection))

    written = said(ours, [b""], status=status)
    assert b"".join(written) == b"".join(said(theirs, [b""], status=status))
    assert written[0] == b""


def test_the_head_of_an_answer_leaves_with_its_first_piece():
    head, first, second, end = said(asked(ShortConnection(h11.SERVER)), [b"one", b"two"])

    assert head == b""
    assert first.startswith(b"HTTP/1.1 200 ")
    assert first.endswith(b"\r\n\r\n3\r\none\r\n")
    assert second == b"3\r\ntwo\r\n"
    assert end == b"0\r\n\r\n"


def test_the_next_answer_of_a_connection_begins_anew():
    connection = asked(ShortConnection(h11.SERVER))
    said(connection, [b"one"])
    connection.start_next_cycle()

    written = said(asked(connection), [b"two"], [*HEADERS, (b"content-length", b"3")])
    assert b"".join(written).endswith(b"\r\n\r\ntwo")


def test_what_h11_refuses_stays_refused():
    connection = asked(ShortConnection(h11.SERVER))
    connection.send(h11.Response(status_code=200, headers=[*HEADERS, (b"content-length", b"3")]))

    with pytest.raises(h11.LocalProtocolError):
        connection.send(h11.Data(b"four"))
