"""A small client of the server's HTTP API: one connection per call, errors as sentences.

It is synchronous and stands on the standard library alone, so that short commands start fast.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from paddock.config import Address, read_config
from paddock.errors import NotFound, PaddockError

CONNECT_SECONDS = 5.0
PROBE_SECONDS = 2.0
READ_BYTES = 65536


class NoServer(PaddockError):
    """Nothing listens at the server's address."""

    def __init__(self, url: str) -> None:
        super().__init__(f"could not connect to a Paddock server at {url}: start one with `paddock serve`.")


def connect() -> Client:
    """A client of the server that the environment names."""
    config = read_config(os.environ)
    return Client(config.address, config.api_key)


class Client:
    """The calls that the command line makes. All raise NoServer, NotFound (404) or PaddockError (any other error)."""

    def __init__(self, address: Address, api_key: str = "") -> None:
        self._address = address
        self._key = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._address.url

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object of a whole answer; empty where the answer has no body."""
        with self._exchange(method, path, *_json(body)) as response:
            text = response.read()
        return self._parse(text) if text else {}

    def stream(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The objects of an NDJSON answer as they come; an error line raises. Closing the generator hangs up."""
        with self._exchange("POST", path, *_json(body)) as response:
            for line in _lines(response):
                if line.strip():
                    update = self._parse(line)
                    if "error" in update:
                        raise PaddockError(str(update["error"]))
                    yield update

    def upload(self, path: str, chunks: Iterable[bytes], size_bytes: int) -> None:
        """Send a body of known size without holding it in memory."""
        headers = {"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"}
        with self._exchange("POST", path, chunks, headers) as response:
            response.read()

    def exists(self, path: str) -> bool:
        """Whether HEAD finds it."""
        try:
            with self._exchange("HEAD", path, None, {}):
                return True
        except NotFound:
            return False

    def is_answering(self) -> bool:
        """Whether a server answers at all, within two seconds."""
        connection = self._connection(PROBE_SECONDS)
        try:
            connection.request("GET", self._address.path + "/")
            response = connection.getresponse()
            response.read()
            return response.status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def require(self) -> None:
        """NoServer unless a server answers: asked before long work that would need one."""
        if not self.is_answering():
            raise NoServer(self.url)

    def _connection(self, timeout_seconds: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._address.scheme == "https" else http.client.HTTPConnection
        reachable = urlsplit(self.url)  # the URL has loopback for a wildcard
        return kind(str(reachable.hostname), reachable.port, timeout=timeout_seconds)

    @contextlib.contextmanager
    def _exchange(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """One request on a connection of its own; leaving closes it, which cancels what the server still does."""
        connection = self._connect()
        try:
            response = _ask(connection, method, self._address.path + path, body, {**headers, **self._key})
            if response.status >= 400:
                raise self._error(response)
            yield response
        except (OSError, http.client.HTTPException):
            raise PaddockError(
                f"the server at {self.url} closed the connection before its answer was complete."
            ) from None
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        connection = self._connection(CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError:
            raise NoServer(self.url) from None
        connection.sock.settimeout(None)  # an answer may take as long as a model takes to load
        return connection

    def _error(self, response: http.client.HTTPResponse) -> PaddockError:
        try:
            message = str(json.loads(response.read())["error"])
        except (ValueError, KeyError, TypeError):
            message = f"the server at {self.url} answered with status {response.status} ({response.reason})."
        return NotFound(message) if response.status == 404 else PaddockError(message)

    def _parse(self, text: bytes) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise PaddockError(f"the server at {self.url} does not speak Paddock's API.")
        return value


def _json(body: Mapping[str, Any] | None) -> tuple[bytes | None, dict[str, str]]:
    if body is None:
        return None, {}
    return json.dumps(body).encode(), {"Content-Type": "application/json"}


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The lines of a body as they come. `readline` would take a transfer that breaks off for whole; `read1` raises.

    A line may be as long as a picture, so its pieces are joined once.
    """
    pieces: list[bytes] = []
    while data := response.read1(READ_BYTES):
        first, *others = data.split(b"\n")
        pieces.append(first)
        for other in others:
            yield b"".join(pieces)
            pieces = [other]
    yield b"".join(pieces)


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None,
    headers: Mapping[str, str],
) -> http.client.HTTPResponse:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused half way: the answer says why
        connection.request(method, path, body, headers)
    return connection.getresponse()
