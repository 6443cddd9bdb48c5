"""A small server that speaks Ollama's wire shapes, and ways to run the command line against it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

import paddock
from paddock.cli.main import app

SOURCE = Path(paddock.__file__).parent.parent
Updates = list[dict[str, Any]] | Callable[[dict[str, Any]], list[dict[str, Any]]]


def text_updates(*texts: str, **last: Any) -> list[dict[str, Any]]:
    """An answer of /api/generate in these pieces, with its last update."""
    pieces = [{"model": "demo", "response": text, "done": False} for text in texts]
    return [*pieces, {"model": "demo", "response": "", "done": True, "done_reason": "stop", **last}]


def chat_updates(*texts: str, **last: Any) -> list[dict[str, Any]]:
    """An answer of /api/chat in these pieces, with its last update."""
    pieces = [{"message": {"role": "assistant", "content": text}, "done": False} for text in texts]
    return [*pieces, {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", **last}]


def png(colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (8, 4), **details: Any) -> bytes:
    """A PNG file of one colour that tells these details of how it was made, if there are any."""
    texts = PngImagePlugin.PngInfo()
    if details:
        texts.add_itxt("paddock", json.dumps(details))
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, format="PNG", pnginfo=texts)
    return file.getvalue()


def picture_updates(data: bytes | None = None, steps: int = 2, **last: Any) -> list[dict[str, Any]]:
    """An answer of /api/generate with a picture, with its last update; `completed` is left out where it is 0."""
    update = {"model": "painter", "response": "", "done": False}
    counts = [{**update, "total": steps, **({"completed": done} if done else {})} for done in range(steps + 1)]
    image = base64.b64encode(data or png()).decode()
    return [*counts, {**update, "done": True, "done_reason": "stop", "image": image, **last}]


def seeded_pictures(body: dict[str, Any]) -> list[dict[str, Any]]:
    """A picture that tells the seed it was asked for; -1 for none."""
    return picture_updates(png(seed=body.get("options", {}).get("seed", -1)))


def _show_answer() -> dict[str, Any]:
    return {"details": {"family": "llama"}, "model_info": {}, "capabilities": ["completion"]}


@dataclass
class FakeServer:
    """What the fake knows, what it is to answer, and what it was asked."""

    url: str = ""
    models: dict[str, dict[str, Any]] = field(default_factory=lambda: {"demo": _show_answer()})
    tags: list[dict[str, Any]] = field(default_factory=list)
    running: list[dict[str, Any]] = field(default_factory=list)
    generated: Updates = field(default_factory=lambda: text_updates("Hello", " there", "."))
    """What /api/generate answers, or makes of the body."""
    chatted: list[dict[str, Any]] = field(default_factory=lambda: chat_updates("Good", " day", "."))
    statuses: list[dict[str, Any]] = field(default_factory=lambda: [{"status": "success"}])
    failures: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Path -> the status and body that it is answered with."""
    hangs: bool = False
    """Whether a streamed answer stops short of its last update and waits for the client to hang up."""
    cuts: bool = False
    """Whether a streamed answer breaks off in the middle of its transfer."""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    is_hanging: threading.Event = field(default_factory=threading.Event)
    has_hung_up: threading.Event = field(default_factory=threading.Event)

    def bodies(self, path: str) -> list[Any]:
        """The bodies of all requests to a path."""
        return [body for _, asked_path, body in self.asked if asked_path == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeServer

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(None)

    def do_HEAD(self) -> None:
        self._serve(None)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self) -> None:
        data = self._body()
        self._serve(data if self.path.startswith("/api/blobs/") else json.loads(data))

    def do_DELETE(self) -> None:
        self.do_POST()

    def _serve(self, body: Any) -> None:
        self.fake.asked.append((self.command, self.path, body))
        if self.path in self.fake.failures:
            status, answer = self.fake.failures[self.path]
            return self._whole(answer, status)
        if self.path.startswith("/api/blobs/"):
            return self._blob(body)
        name = self.path.removeprefix("/api/") or "root"
        return getattr(self, f"_{name.strip('/') or 'root'}")(body)

    def _whole(self, answer: Any, status: int = 200) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _stream(self, updates: list[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        is_whole = not (self.fake.hangs or self.fake.cuts)
        try:
            for update in updates if is_whole else updates[:-1]:
                line = json.dumps(update).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            if is_whole:
                self.wfile.write(b"0\r\n\r\n")
            if self.fake.hangs:
                self.fake.is_hanging.set()
                has_more = self.connection.recv(1)
                assert not has_more
                self.fake.has_hung_up.set()
        except ConnectionError:
            self.fake.has_hung_up.set()
        self.close_connection = self.close_connection or not is_whole

    def _missing(self, name: str) -> None:
        self._whole({"error": f"model '{name}' not found"}, 404)

    def _root(self, body: Any) -> None:
        self._whole(b"Paddock is running")

    def _version(self, body: Any) -> None:
        self._whole({"version": paddock.__version__})

    def _tags(self, body: Any) -> None:
        self._whole({"models": self.fake.tags})

    def _ps(self, body: Any) -> None:
        self._whole({"models": self.fake.running})

    def _show(self, body: Any) -> None:
        model = self.fake.models.get(body["model"])
        self._whole(model) if model is not None else self._missing(body["model"])

    def _generate(self, body: Any) -> None:
        if body["model"] not in self.fake.models:
            return self._missing(body["model"])
        if not body.get("prompt"):
            reason = "unload" if body.get("keep_alive") == 0 else "load"
            return self._whole({"model": body["model"], "response": "", "done": True, "done_reason": reason})
        updates = self.fake.generated
        return self._stream(updates(body) if callable(updates) else updates)

    def _chat(self, body: Any) -> None:
        self._stream(self.fake.chatted)

    def _create(self, body: Any) -> None:
        self.fake.models[body["model"]] = _show_answer()
        self._stream(self.fake.statuses)

    def _pull(self, body: Any) -> None:
        self.fake.models[body["model"]] = _show_answer()
        self._stream(self.fake.statuses)

    def _push(self, body: Any) -> None:
        self._stream(self.fake.statuses)

    def _copy(self, body: Any) -> None:
        self._whole(b"") if body["source"] in self.fake.models else self._missing(body["source"])

    def _delete(self, body: Any) -> None:
        self._whole(b"") if self.fake.models.pop(body["model"], None) else self._missing(body["model"])

    def _blob(self, body: Any) -> None:
        digest = self.path.removeprefix("/api/blobs/")
        if self.command == "HEAD":
            return self._whole(b"", 200 if digest in self.fake.blobs else 404)
        assert digest == f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.fake.blobs[digest] = body
        return self._whole(b"", 201)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # clients may hang up whenever they like
            super().handle_error(request, client_address)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeServer]:
    """A running fake, and an environment in which the command line finds it."""
    fake = FakeServer()
    handler = type("Handler", (_Handler,), {"fake": fake})
    with _Server(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        fake.url = f"http://127.0.0.1:{listening.server_port}"
        monkeypatch.setenv("PADDOCK_HOST", fake.url)
        monkeypatch.setenv("PADDOCK_HOME", str(tmp_path / "home"))
        yield fake
        listening.shutdown()
        thread.join()


@pytest.fixture
def painter(server: FakeServer) -> FakeServer:
    """The fake with a model that makes pictures."""
    server.models["painter"] = {"details": {"family": "zimage"}, "model_info": {}, "capabilities": ["image", "vision"]}
    server.generated = seeded_pictures
    return server


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An address at which nothing listens: the lowest port, which is reserved."""
    monkeypatch.setenv("PADDOCK_HOST", "127.0.0.1:1")
    monkeypatch.setenv("PADDOCK_HOME", str(tmp_path / "home"))
    return "http://127.0.0.1:1"


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    exit_code: int
    out: str
    err: str


@pytest.fixture
def paddock_command() -> Callable[..., Outcome]:
    """Run a command in this process: `paddock_command("list", stdin="")`."""

    def invoke(*arguments: str, stdin: str | bytes = "") -> Outcome:
        result = CliRunner().invoke(app, list(arguments), input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return invoke


def heed_interrupts() -> None:
    """A suite that runs in the background has SIGINT ignored, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start_process() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `python -m paddock …` as a process of its own; what is left of it is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        command = [sys.executable, "-m", "paddock", *arguments]
        process = subprocess.Popen(command, env=environment, preexec_fn=heed_interrupts, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()


@pytest.fixture
def read_until() -> Callable[[int, str], str]:
    """Read a descriptor until a pattern has come, within half a minute; what was read."""

    def read(descriptor: int, pattern: str) -> str:
        seen, deadline = "", time.monotonic() + 30
        while not re.search(pattern, seen):
            readable, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
            assert readable, f"{pattern!r} never came: {seen!r}"
            data = os.read(descriptor, 4096)
            assert data, f"it ended before {pattern!r}: {seen!r}"
            seen += data.decode(errors="replace")
        return seen

    return read


@pytest.fixture
def updates() -> Any:
    """The makers of streamed answers."""
    return {"generate": text_updates, "chat": chat_updates, "picture": picture_updates}


@pytest.fixture
def make_png() -> Callable[..., bytes]:
    """The maker of PNG files."""
    return png


class Terminal(io.StringIO):
    """A text buffer that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 120 columns to stand for stdout or stderr."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    return Terminal()


def scripted(lines):
    """Reads these lines in place of a terminal, then its end; an exception class among them is raised instead."""
    script = iter(lines)

    def read_line(is_continued, keeps_history):
        line = next(script, EOFError)
        if isinstance(line, str):
            return line
        raise line

    return read_line
