"""HTTP that is none, or that two readers would read differently: whole conversations as bytes."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

HOST = b"Host: localhost\r\n"
JSON = b'{"model":"short","prompt":"Hi","stream":false}'
INNER = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""A request within another's body: whoever answers it was smuggled past."""


def post(headers: bytes, body: bytes = b"", line: bytes = b"POST /api/generate HTTP/1.1") -> bytes:
    return line + b"\r\n" + HOST + headers + b"\r\n" + body


def get(line: bytes, headers: bytes = HOST) -> bytes:
    return line + b"\r\n" + headers + b"\r\n"


def _length(body: bytes = JSON) -> bytes:
    return b"Content-Length: %d\r\n" % len(body)


def form(body: bytes) -> bytes:
    kind = b"Content-Type: multipart/form-data; boundary=x\r\n"
    return post(kind + _length(body), body, b"POST /v1/images/edits HTTP/1.1")


def chunks(*sizes_and_data: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", b"".join(sizes_and_data))


DOUBTFUL: Mapping[str, bytes] = {
    "two different Content-Lengths": post(b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(INNER), INNER),
    "two Content-Lengths in one line": post(b"Content-Length: 0, %d\r\n" % len(INNER), INNER),
    "Content-Length and chunks": post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + INNER),
    "chunks and Content-Length": post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n" + INNER),
    "chunks that are not last": post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n" + INNER),
    "two Transfer-Encodings": post(
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + INNER
    ),
    "Transfer-Encoding of a strange kind": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + INNER),
    "Transfer-Encoding with a tab": post(b"Transfer-Encoding:\tchunked\r\nContent-Length: 4\r\n", b"0\r\n\r\n" + INNER),
    "Transfer-Encoding with a space before the colon": post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n" + INNER),
    "a Content-Length with a sign": post(b"Content-Length: +0\r\n", INNER),
    "a Content-Length below zero": post(b"Content-Length: -1\r\n", INNER),
    "a Content-Length in hexadecimal": post(b"Content-Length: 0x0\r\n", INNER),
    "a Content-Length with an underscore": post(b"Content-Length: 0_0\r\n", INNER),
    "a Content-Length of a thousand digits": post(b"Content-Length: " + b"9" * 1000 + b"\r\n", INNER),
    "a Content-Length in other digits": post("Content-Length: ٠\r\n".encode(), INNER),
    "a size of chunk with a sign": chunks(b"+0\r\n\r\n", INNER),
    "a size of chunk with an underscore": chunks(b"0_0\r\n\r\n", INNER),
    "a size of chunk with 0x": chunks(b"0x0\r\n\r\n", INNER),
    "a size of chunk below zero": chunks(b"-1\r\n", INNER),
    "no size of chunk": chunks(b"\r\n\r\n", INNER),
}
"""Where one request ends is a matter of opinion: none of them may be answered as two."""

MALFORMED: Mapping[str, bytes] = {
    "nothing": b"",
    "one line feed": b"\n",
    "no words": b"\r\n\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(range(160)),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a line without a version": b"GET /\r\n\r\n",
    "a version that is none": get(b"GET / HTTP/9.9"),
    "a version in small letters": get(b"GET / http/1.1"),
    "HTTP/0.9 with headers": get(b"GET / HTTP/0.9"),
    "HTTP/1.0 without a host": b"GET / HTTP/1.0\r\n\r\n",
    "three spaces": get(b"GET   /   HTTP/1.1"),
    "tabs": get(b"GET\t/\tHTTP/1.1"),
    "a method of strange letters": get("GÉT / HTTP/1.1".encode()),
    "a method of a thousand letters": get(b"G" * 1000 + b" / HTTP/1.1"),
    "a method that does nothing": get(b"TRACE /api/tags HTTP/1.1"),
    "CONNECT": get(b"CONNECT localhost:80 HTTP/1.1"),
    "an asterisk": get(b"OPTIONS * HTTP/1.1"),
    "an absolute address": get(b"GET http://localhost/api/version HTTP/1.1"),
    "an absolute address of another": get(b"GET http://example.com/api/version HTTP/1.1"),
    "an absolute address of no scheme": get(b"GET //example.com/api/version HTTP/1.1"),
    "no path": get(b"GET  HTTP/1.1"),
    "a path without a slash": get(b"GET api/version HTTP/1.1"),
    "a path that climbs": get(b"GET /api/../../../../etc/passwd HTTP/1.1"),
    "a path that climbs in escapes": get(b"GET /api/blobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1"),
    "a picture's path that climbs": get(b"GET /v1/images/files/..%2f..%2fx.png HTTP/1.1"),
    "an escape of nothing": get(b"GET /api/%00 HTTP/1.1"),
    "half an escape": get(b"GET /api/%2 HTTP/1.1"),
    "escapes that are no UTF-8": get(b"GET /api/show/%ff%fe HTTP/1.1"),
    "a path of NUL": get(b"GET /api/\0version HTTP/1.1"),
    "a path of eight-bit letters": get(b"GET /api/\xff\xfe HTTP/1.1"),
    "a path of 100,000 letters": get(b"GET /" + b"a" * 100_000 + b" HTTP/1.1"),
    "a path of 10,000 slashes": get(b"GET " + b"/" * 10_000 + b" HTTP/1.1"),
    "a question of 60,000 letters": get(b"GET /api/tags?" + b"a=b&" * 15_000 + b" HTTP/1.1"),
    "a digest that is none": get(b"HEAD /api/blobs/sha256:zz HTTP/1.1"),
    "a digest in capitals": get(b"HEAD /api/blobs/SHA256:" + b"A" * 64 + b" HTTP/1.1"),
    "a digest with dots": get(b"HEAD /api/blobs/sha256:" + b"." * 64 + b" HTTP/1.1"),
    "a blob of another digest": post(_length(), JSON, b"POST /api/blobs/sha256:" + b"0" * 64 + b" HTTP/1.1"),
    "no host": b"GET /api/version HTTP/1.1\r\n\r\n",
    "two hosts": get(b"GET /api/version HTTP/1.1", HOST + b"Host: example.com\r\n"),
    "an empty host": get(b"GET /api/version HTTP/1.1", b"Host:\r\n"),
    "a host of brackets": get(b"GET /api/version HTTP/1.1", b"Host: [::1\r\n"),
    "a host of eight-bit letters": get(b"GET /api/version HTTP/1.1", b"Host: \xff\xfe\r\n"),
    "a host with a port of letters": get(b"GET /api/version HTTP/1.1", b"Host: localhost:abc\r\n"),
    "a host with a thousand colons": get(b"GET /api/version HTTP/1.1", b"Host: " + b":" * 1000 + b"\r\n"),
    "a header of NUL": get(b"GET /api/version HTTP/1.1", HOST + b"X: a\0b\r\n"),
    "a header of a bare line feed": get(b"GET /api/version HTTP/1.1", HOST + b"X: a\nY: b\r\n"),
    "a header of a bare return": get(b"GET /api/version HTTP/1.1", HOST + b"X: a\rY: b\r\n"),
    "a folded header": post(b"X: a\r\n Content-Length: 0\r\n", INNER),
    "a header without a colon": get(b"GET /api/version HTTP/1.1", HOST + b"nothing\r\n"),
    "a header without a name": get(b"GET /api/version HTTP/1.1", HOST + b": x\r\n"),
    "a header with a space in its name": get(b"GET /api/version HTTP/1.1", HOST + b"X Y: z\r\n"),
    "a header of eight-bit letters": get(b"GET /api/version HTTP/1.1", HOST + b"Origin: \xff\xfe\r\n"),
    "an origin of NUL": get(b"GET /api/version HTTP/1.1", HOST + b"Origin: http://a\0b\r\n"),
    "two origins": get(b"GET /api/version HTTP/1.1", HOST + b"Origin: http://localhost\r\nOrigin: http://x.y\r\n"),
    "10,000 headers": get(b"GET /api/version HTTP/1.1", HOST + b"X: y\r\n" * 10_000),
    "200 headers": get(b"GET /api/version HTTP/1.1", HOST + b"X: y\r\n" * 200),
    "a header of 200,000 letters": get(b"GET /api/version HTTP/1.1", HOST + b"X: " + b"a" * 200_000 + b"\r\n"),
    "headers without an end": b"GET /api/version HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 100,
    "line feeds alone": b"GET /api/version HTTP/1.1\nHost: localhost\n\n",
    "an upgrade": get(
        b"GET / HTTP/1.1", HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n"
    ),
    "an upgrade to HTTP/2": get(b"GET / HTTP/1.1", HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"),
    "something else expected": post(b"Expect: the unexpected\r\n" + _length(), JSON),
    "to be continued": post(b"Expect: 100-continue\r\n" + _length(), JSON),
    "keys without end": get(b"GET /api/tags HTTP/1.1", HOST + b"Authorization: Bearer " + b"k" * 20_000 + b"\r\n"),
    "a key of eight-bit letters": get(b"GET /api/tags HTTP/1.1", HOST + b"Authorization: Bearer \xff\xfe\r\n"),
    "a key that is none": get(b"GET /api/tags HTTP/1.1", HOST + b"Authorization: Basic\r\n"),
    "a truncated body": post(b"Content-Length: 1000\r\n", JSON),
    "no body where there is a length": post(_length()),
    "a body without a length": post(b"", JSON),
    "a body of nothing": post(b"Content-Length: 0\r\n"),
    "a length beyond all bounds": post(b"Content-Length: 99999999999\r\n", JSON),
    "a body in another encoding": post(b"Content-Encoding: gzip\r\n" + _length(), JSON),
    "a body of another type": post(b"Content-Type: multipart/form-data\r\n" + _length(), JSON),
    "a form without parts": form(b"--x--"),
    "a form without a boundary": post(
        b"Content-Type: multipart/form-data\r\n" + _length(), JSON, b"POST /v1/images/edits HTTP/1.1"
    ),
    "a form that breaks off": form(b'--x\r\nContent-Disposition: form-data; name="image"'),
    "a file that climbs": form(
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="../../../tmp/paddock"\r\n\r\nnothing\r\n'
        b"--x--\r\n"
    ),
    "a chunk that breaks off": chunks(b"ffff\r\n", JSON),
    "a chunk longer than its size": chunks(b"2\r\n", JSON, b"\r\n0\r\n\r\n"),
    "chunks that begin too late": chunks(b"\r\n2e\r\n", JSON, b"\r\n0\r\n\r\n"),
    "a chunk of another size": chunks(b"zz\r\n", JSON, b"\r\n0\r\n\r\n"),
    "a chunk of 2^64": chunks(b"1" + b"0" * 16 + b"\r\n", JSON),
    "a size of a million digits": chunks(b"0" * 1_000_000 + b"2e\r\n", JSON, b"\r\n0\r\n\r\n"),
    "a chunk's extension of 100,000 letters": chunks(b"2e;" + b"a" * 100_000 + b"\r\n", JSON, b"\r\n0\r\n\r\n"),
    "chunks of one byte": chunks(*(b"1\r\n%c\r\n" % byte for byte in JSON), b"0\r\n\r\n"),
    "a trailer": chunks(b"2e\r\n", JSON, b"\r\n0\r\nX: y\r\nContent-Length: 5\r\n\r\n"),
    "trailers without end": chunks(b"2e\r\n", JSON, b"\r\n0\r\n", b"X: y\r\n" * 20_000),
    "fifty requests at once": INNER * 50,
    "a request behind one that is refused": post(b"Content-Length: 2\r\n", b"[]") + INNER,
    "a body for a GET": get(b"GET /api/version HTTP/1.1", HOST + _length()) + JSON,
    "a body for a HEAD": get(b"HEAD / HTTP/1.1", HOST + _length()) + JSON,
}
"""Everything else that is not as it should be."""

_SOUND = (
    post(_length(), JSON),
    chunks(b"2e\r\n", JSON, b"\r\n0\r\n\r\n"),
    get(b"GET /api/tags?x=%20y HTTP/1.1", HOST + b"Origin: http://localhost:3000\r\nAccept: */*\r\n"),
    INNER + INNER,
)
_PIECES = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b"%",
        b"\xff",
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"HTTP/1.1",
        b"HTTP/1.0",
    ),
    *(b"Content-Length: 5\r\n", b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"),
    *(b"Connection: keep-alive\r\n", b"Host: example.com\r\n", b"Expect: 100-continue\r\n", b"a" * 9000, INNER),
)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """A sound conversation with one to four faults anywhere in its bytes."""
    data = draw(st.sampled_from(_SOUND))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.sampled_from((0, 0, 1, 2, 10))))
        piece = draw(st.sampled_from(_PIECES) | st.binary(max_size=4))
        data = data[:begin] + piece + data[end:]
    return data
