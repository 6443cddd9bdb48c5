"""What the API costs: processor time of the server for each token, and how much later a token reaches its client.

The runner is one without a model, whose tokens are the times of their writing. A client takes them through the whole
server in each dialect, and in turn straight from the runner's socket; what lies between is the API's. Tokens of one
step of a batch, as an engine makes them, tell what the processor pays; spread ones tell by how much they are late.

    python bench/api_latency.py [--rounds 3] [--tokens 256] [--pace 20]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
from quiet import quietest
from rich.console import Console
from rich.progress import track
from rich.table import Table

from paddock.protocol import ChatMessage, ChatRequest, encode

MOST_PROCESSOR_MS = 0.15
"""Of the server for each token, with sixteen streams at once."""
MOST_FIRST_MS = 5.0
"""Later than straight from the runner, for the first token."""
TRIES = 3
"""For a figure that the machine's host disturbs."""
CONCURRENCIES = (1, 16)
_FIRSTS = 20
"""Answers of one token that are asked for in each round, one after the other, to time first tokens by."""

_TOKEN = re.compile(rb"t(\d{12,})")
_RUNNER = Path(__file__).with_name("paced_runner.py")


@dataclass(frozen=True)
class Dialect:
    """One way to ask for an answer in words."""

    path: str
    body: dict[str, Any]
    field: str
    """Where the text goes."""

    def request(self, text: str) -> bytes:
        """The whole request, as it goes over the wire."""
        given = [{"role": "user", "content": text}] if self.field == "messages" else text
        body = json.dumps({"model": "demo", "stream": True, **self.body, self.field: given}).encode()
        return _http("localhost", self.path, body)


DIALECTS = {
    "Ollama generate": Dialect("/api/generate", {"raw": True}, "prompt"),
    "Ollama chat": Dialect("/api/chat", {}, "messages"),
    "OpenAI chat": Dialect("/v1/chat/completions", {}, "messages"),
    "OpenAI completions": Dialect("/v1/completions", {"max_tokens": 4096}, "prompt"),
    "OpenAI responses": Dialect("/v1/responses", {}, "input"),
    "Anthropic messages": Dialect("/v1/messages", {"max_tokens": 4096}, "messages"),
}


@dataclass(frozen=True)
class Place:
    """A server with one runner."""

    process: psutil.Process
    address: tuple[str, int]
    runner_socket: str


@dataclass
class Stream(asyncio.Protocol):
    """One answer, as its client takes it. Times are nanoseconds of the monotonic clock."""

    request: bytes
    tokens: int
    began: int = 0
    lags: list[int] = field(default_factory=list)
    """Of each token, from its writing to its arrival."""
    first: int = 0
    """From the request to the first token."""
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    head: bytes = b""
    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.began = time.monotonic_ns()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.head = self.head or data
        for written in _TOKEN.findall(data):
            if len(self.lags) < self.tokens:  # some dialects tell the whole text again at the end
                self.lags.append(now - int(written))
                self.first = self.first or now - self.began
        if data.endswith(b"0\r\n\r\n") and not self.ended.done():
            self.ended.set_result(None)
            assert self.transport is not None
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(RuntimeError(f"the answer broke off: {self.head[:300]!r}"))


@dataclass(frozen=True)
class Figures:
    """Of all streams of one run: milliseconds."""

    lags: tuple[float, ...]
    firsts: tuple[float, ...]
    processor: float = 0.0
    """Of the server, for each token."""


async def run(place: Place, requests: Sequence[bytes], tokens: int, *, is_straight: bool) -> Figures:
    """All of these at once."""
    loop, before = asyncio.get_running_loop(), _processor_seconds(place.process)
    streams = [Stream(request, tokens) for request in requests]
    for stream in streams:
        if is_straight:
            await loop.create_unix_connection(lambda stream=stream: stream, place.runner_socket)  # type: ignore[misc]
        else:
            await loop.create_connection(lambda stream=stream: stream, *place.address)  # type: ignore[misc]
    await asyncio.gather(*(stream.ended for stream in streams))
    spent = _processor_seconds(place.process) - before
    for stream in streams:
        assert len(stream.lags) == tokens, f"{len(stream.lags)} tokens: {stream.head[:300]!r}"
    return Figures(
        lags=tuple(lag / 1e6 for stream in streams for lag in stream.lags[1:]),
        firsts=tuple(stream.first / 1e6 for stream in streams),
        processor=1000 * spent / (tokens * len(streams)),
    )


def spread(concurrency: int, tokens: int, pace_ms: float) -> list[str]:
    """What each stream asks of the runner where none may wait for another's token: what tokens are delayed by."""
    return [f"{tokens} {pace_ms:g} {number / concurrency:g}" for number in range(concurrency)]


def batched(concurrency: int, tokens: int, pace_ms: float) -> list[str]:
    """What each asks where all get their tokens in one step, as an engine's do: what tokens cost."""
    return [f"{tokens} {pace_ms:g} 0"] * concurrency


async def measure(
    place: Place, dialect: Dialect, concurrency: int, tokens: int, pace_ms: float
) -> tuple[Figures, Figures]:
    """Through the server, and straight from the runner."""
    asked = spread(concurrency, tokens, pace_ms)
    straight = [
        _http("runner", "/chat", encode(ChatRequest(messages=(ChatMessage(role="user", content=text),))))
        for text in asked
    ]
    through = await run(place, list(map(dialect.request, asked)), tokens, is_straight=False)
    return through, await run(place, straight, tokens, is_straight=True)


def measure_cost(place: Place, dialect: Dialect, concurrency: int, tokens: int, pace_ms: float) -> float:
    """Processor milliseconds of the server for each token."""
    requests = list(map(dialect.request, batched(concurrency, tokens, pace_ms)))
    return quietest(lambda: asyncio.run(run(place, requests, tokens, is_straight=False)).processor, TRIES)[0]


def measure_firsts(place: Place, dialect: Dialect, pace_ms: float) -> tuple[Figures, Figures]:
    """The same of many answers of one token, each alone."""
    return quietest(lambda: asyncio.run(_firsts(place, dialect, pace_ms)), TRIES)[0]


async def _firsts(place: Place, dialect: Dialect, pace_ms: float) -> tuple[Figures, Figures]:
    return joined([await measure(place, dialect, 1, 1, pace_ms) for _ in range(_FIRSTS)])


def joined(pairs: Sequence[tuple[Figures, Figures]]) -> tuple[Figures, Figures]:
    """First tokens of all these, as if they had been measured in one go."""
    through, straight = (
        Figures((), tuple(first for each in side for first in each.firsts)) for side in zip(*pairs, strict=True)
    )
    return through, straight


@contextmanager
def serving() -> Iterator[Place]:
    """A server of its own process whose runners are paced ones; its model has been loaded."""
    with tempfile.TemporaryDirectory() as home, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PADDOCK_", "OLLAMA_"))
        }
        environment |= {
            "PADDOCK_HOME": home,
            "PADDOCK_HOST": f"127.0.0.1:{port}",
            "PADDOCK_NUM_PARALLEL": str(max(CONCURRENCIES)),
            "PADDOCK_WARM_SPARE": "0",
        }
        log = Path(home) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, __file__, "--serve"], env=environment, stdout=output, stderr=output
            )
        try:
            _load(f"http://127.0.0.1:{port}", process, log)
            yield Place(psutil.Process(process.pid), ("127.0.0.1", port), _runner_socket(process.pid))
        finally:
            process.terminate()
            process.wait()


def _load(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = httpx.post(f"{url}/api/generate", json={"model": "demo", "stream": False}, timeout=60)
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(log.read_text()) from None
            time.sleep(0.05)
        else:
            answer.raise_for_status()
            return


def _runner_socket(pid: int) -> str:
    for child in psutil.Process(pid).children(recursive=True):
        for found in child.net_connections("unix"):
            if str(found.laddr).endswith("/socket"):
                return str(found.laddr)
    raise SystemExit("there is no runner")


def _serve() -> None:
    """The server, with paced runners in place of real ones."""
    from paddock import app
    from paddock.config import read_config
    from paddock.supervisor.host import this_host

    app.this_host = lambda environment, log_folder=None: replace(  # type: ignore[attr-defined]
        this_host(environment, log_folder), command=(sys.executable, str(_RUNNER))
    )
    app.serve(read_config(os.environ))


def _http(host: str, path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@dataclass(frozen=True)
class Row:
    """What a dialect costs, in milliseconds."""

    processor: float
    lag: float
    """Of the middle token."""
    late: float
    """Of the slowest token in a hundred."""
    first: float


def row_of(costs: Sequence[float], pairs: Sequence[tuple[Figures, Figures]], firsts: tuple[Figures, Figures]) -> Row:
    """The middle of several rounds, each the difference between through and straight; `firsts` are first tokens."""
    return Row(
        processor=statistics.median(costs),
        lag=statistics.median(_quantile(a.lags, 0.5) - _quantile(b.lags, 0.5) for a, b in pairs),
        late=statistics.median(_quantile(a.lags, 0.99) - _quantile(b.lags, 0.99) for a, b in pairs),
        first=statistics.median(firsts[0].firsts) - statistics.median(firsts[1].firsts),
    )


def measure_all(rounds: int, tokens: int, pace_ms: float, dialects: dict[str, Dialect]) -> dict[tuple[str, int], Row]:
    """Each dialect at each concurrency, after one round that warms everything up."""
    rows = {}
    cases = [(name, concurrency) for concurrency in CONCURRENCIES for name in dialects]
    with serving() as place:
        asyncio.run(measure(place, DIALECTS["Ollama chat"], max(CONCURRENCIES), tokens, pace_ms))
        for name, concurrency in track(cases, "Measuring", console=Console(stderr=True)):
            pairs = [asyncio.run(measure(place, dialects[name], concurrency, tokens, pace_ms)) for _ in range(rounds)]
            alone = [measure_firsts(place, dialects[name], pace_ms) for _ in range(rounds if concurrency == 1 else 0)]
            costs = [measure_cost(place, dialects[name], concurrency, tokens, pace_ms) for _ in range(rounds)]
            rows[name, concurrency] = row_of(costs, pairs, joined(alone or pairs))
    return rows


def main() -> int:
    """Print the table; exit status 1 if the API costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--pace", type=float, default=20.0, help="milliseconds between two tokens of a stream")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), action="append")
    parser.add_argument("--most-processor", type=float, default=MOST_PROCESSOR_MS, help="milliseconds for a token")
    parser.add_argument("--most-first", type=float, default=MOST_FIRST_MS, help="milliseconds to a first token")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        _serve()
        return 0
    dialects = {name: DIALECTS[name] for name in arguments.dialect or DIALECTS}
    rows = measure_all(arguments.rounds, arguments.tokens, arguments.pace, dialects)

    table = Table(title=f"The API's part, in milliseconds: {arguments.tokens} tokens, one each {arguments.pace:g} ms")
    for heading in ("streams", "dialect", "processor / token", "later, p50", "later, p99", "first token later"):
        table.add_column(heading, justify="left" if heading == "dialect" else "right")
    for (name, concurrency), row in rows.items():
        table.add_row(
            str(concurrency), name, *(f"{value:.3f}" for value in (row.processor, row.lag, row.late, row.first))
        )
    Console().print(table)
    processor = max(row.processor for (_, concurrency), row in rows.items() if concurrency == max(CONCURRENCIES))
    first = max(row.first for (_, concurrency), row in rows.items() if concurrency == 1)
    is_enough = processor <= arguments.most_processor and first <= arguments.most_first
    print(
        f"at most {processor:.3f} ms of processor time for a token ({arguments.most_processor:g} wanted) and "
        f"{first:.1f} ms to a first token ({arguments.most_first:g} wanted): {'pass' if is_enough else 'FAIL'}"
    )
    return 0 if is_enough else 1


if __name__ == "__main__":
    sys.exit(main())
