"""The server that nonsense is sent to: a real process with real runners, watched after every request."""

from __future__ import annotations

import base64
import contextlib
import errno
import http.client
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from hypothesis import HealthCheck, Phase, settings

from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName
from tests.clients.speaker import make_caller, make_thinker
from tests.fuzz.verdicts import damage_in, fault_of
from tests.road.conftest import Road, road_from
from tests.runner.engines.embedding.tiny import make_tiny_bert

CASES = int(os.environ.get("FUZZ_CASES", "1000"))
"""How many there are in all; the parts take their shares of it."""
SECONDS = 30.0
"""Longest time that one of them may take: a request that hangs is a defect as well."""
SHORT = {"num_predict": 2, "num_ctx": 128}
"""Parameters of a model that writes: no answer is long, whatever a request leaves out or asks for."""
ROOMY = {**SHORT, "num_ctx": 1024}
"""Of those whose tokens are single bytes, and which end by themselves."""


def share(part: float) -> int:
    """So many cases of all."""
    return max(1, round(CASES * part))


def campaign(cases: int) -> settings:
    """So many cases of one property. The same ones each time in the quick run, so that it fails for a change only."""
    is_quick = "FUZZ_CASES" not in os.environ
    return settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=is_quick,
        suppress_health_check=list(HealthCheck),
        # A defect is shown as it was found: each try to make it smaller may cost a server that hangs, or has ended.
        phases=[Phase.generate],
    )


@dataclass
class Subject:
    """A server under test, and how much of its log has been read."""

    road: Road
    _connection: http.client.HTTPConnection = field(init=False)
    _read_bytes: int = 0
    last: bytes = b""
    """The latest answer's body."""

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    @property
    def port(self) -> int:
        return int(self.road.url.rpartition(":")[2])

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> int:
        """Send a request that is sound HTTP, and judge the answer; returns its status. AssertionError tells how to
        send it again."""
        try:
            self._connection.request(method, path, body, headers=dict(headers or {}))
            response = self._connection.getresponse()
            self.last = answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise AssertionError(f"no answer: {error!r}\n{self.as_command(method, path, body)}") from error
        sent = path + body.decode("utf-8", "replace")
        names = {name.lower(): value for name, value in response.getheaders()}
        fault = fault_of(path, sent, response.status, names, answer) or self.damage()
        assert not fault, f"{fault}\n{answer[:500]!r}\n{self.as_command(method, path, body)}"
        return response.status

    def send(self, data: bytes, patience_seconds: float = 0.05) -> bytes:
        """Send bytes on a connection of their own, and return all that comes back until it has been quiet for so long
        and the connection is half closed, which the server takes for a client that goes. AssertionError if it stays."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as connection:
            answer = bytearray()
            # A server that has heard enough closes, with bytes of ours unread.
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
                connection.settimeout(patience_seconds)
                with contextlib.suppress(TimeoutError):
                    _read(connection, answer)
            connection.settimeout(SECONDS)
            try:
                connection.shutdown(socket.SHUT_WR)
                _read(connection, answer)
            except TimeoutError:
                raise AssertionError(f"the connection stays open\n{self.as_bytes(data)}") from None
            except OSError as error:
                if error.errno not in (errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE):
                    raise
        return bytes(answer)

    def damage(self) -> str:
        """What must never be: an end of the server, a traceback in its log, the death of a runner."""
        if (status := self.road.process.poll()) is not None:
            return f"the server has ended with {status}"
        with (self.road.home / "server.log").open("rb") as log:
            log.seek(self._read_bytes)
            fresh = log.read()
        self._read_bytes += len(fresh)
        return damage_in(fresh.decode("utf-8", "replace"))

    def is_well(self) -> None:
        """AssertionError unless it answers as ever, and nothing bad has happened."""
        assert not (damage := self.damage()), damage
        assert httpx.get(f"{self.road.url}/api/version", timeout=SECONDS).status_code == 200
        answer = self.road.client.generate("short", "Hello")
        assert answer.done
        assert not (damage := self.damage()), damage

    def as_command(self, method: str, path: str, body: bytes) -> str:
        """A command that sends the request again."""
        encoded = base64.b64encode(body).decode()
        return (
            f"again: printf %s '{encoded}' | base64 -d | curl -si -X {method} --data-binary @- '{self.road.url}{path}'"
        )

    def as_bytes(self, data: bytes) -> str:
        """A command that sends the bytes again."""
        encoded = base64.b64encode(data).decode()
        return f"again: printf %s '{encoded}' | base64 -d | nc -q 5 127.0.0.1 {self.port}"

    def close(self) -> None:
        self._connection.close()


def _read(connection: socket.socket, answer: bytearray) -> None:
    while received := connection.recv(65536):
        answer += received


@contextmanager
def subject_in(folder: Path) -> Iterator[Subject]:
    """A server whose models write two tokens: of text, of a call, of a thought; and others that embed and paint."""
    with road_from(folder / "home") as road:
        library = Library(road.home / "models")
        for name, make in (("caller", make_caller), ("thinker", make_thinker), ("vectors", make_tiny_bert)):
            import_folder(library, ModelName.parse(name), make(folder / name))
        import_folder(library, ModelName.parse("scores"), make_tiny_bert(folder / "scores", is_reranker=True))
        road.client.create("short", from_="demo", parameters=SHORT)
        for name in ("caller", "thinker"):
            road.client.create(name, from_=name, parameters=ROOMY)
        subject = Subject(road)
        subject.is_well()
        try:
            yield subject
        finally:
            subject.close()
