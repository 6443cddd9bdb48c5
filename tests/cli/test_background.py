"""A server in the background, with stand-ins for the server itself."""

import os
import socket
import sys
import textwrap

import psutil
import pytest

from paddock.cli import background
from paddock.cli.client import Client, NoServer
from paddock.config import read_config
from paddock.errors import NotFound, PaddockError

# A server in the background outlives the object that started it: that is its purpose, and no leak.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")

SERVER = """
    import os, signal, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
        def log_message(self, *arguments):
            pass
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print("session", os.getsid(0) == os.getpid(), flush=True)
    HTTPServer(("127.0.0.1", int(os.environ["PADDOCK_HOST"].rpartition(":")[2])), Handler).serve_forever()
"""


def python(code):
    return [sys.executable, "-c", textwrap.dedent(code)]


@pytest.fixture
def config(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("PADDOCK_HOST", f"127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("PADDOCK_HOME", str(tmp_path / "home"))
    config = read_config(os.environ)
    yield config
    process = background._started_server(config)
    if process:
        process.kill()


@pytest.fixture
def client(config):
    return Client(config.address)


def test_a_server_is_started_and_stopped(config, client, capsys):
    background.ensure_server(client, config, python(SERVER))
    assert client.is_answering()
    assert capsys.readouterr().err == (
        f"Started a Paddock server in the background (log: {config.home / 'logs' / 'server.log'}). "
        "Stop it with `paddock stop --server`.\n"
    )
    assert background.log_path(config).read_text() == "session True\n"
    background.stop_server(config)
    assert not client.is_answering()
    assert capsys.readouterr().out == "stopped the server\n"
    with pytest.raises(NotFound):
        background.stop_server(config)


def test_a_server_that_answers_is_left_alone(server):
    config = read_config(os.environ)
    background.ensure_server(Client(config.address), config, python("raise SystemExit('never started')"))
    assert not background.log_path(config).exists()


def test_a_server_that_ends_at_once_is_quoted(config, client):
    background.log_path(config).parent.mkdir(parents=True)
    background.log_path(config).write_text("an older line\n")
    with pytest.raises(PaddockError) as raised:
        background.start(client, config, python("raise SystemExit('starting\\nError: the store is locked.\\n')"))
    assert raised.value.message == "the server could not be started: the store is locked."


def test_a_server_that_ends_without_a_word_names_its_log(config, client):
    background.log_path(config).parent.mkdir(parents=True)
    background.log_path(config).write_text("an older line\n")
    with pytest.raises(PaddockError, match=r"it ended without a word \(.*server.log\)"):
        background.start(client, config, python("raise SystemExit(3)"))


def test_a_server_that_never_answers_is_ended(config, client, monkeypatch, tmp_path):
    monkeypatch.setattr(background, "START_SECONDS", 0.5)
    pid_file = tmp_path / "pid"
    code = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(PaddockError, match="did not answer within"):
        background.start(client, config, python(code))
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_another_server_that_took_the_address_first_is_good_enough(config, client, monkeypatch):
    answers = iter([False, True])
    monkeypatch.setattr(Client, "is_answering", lambda self: next(answers, True))
    background.start(client, config, python("raise SystemExit('Error: the address is in use.')"))


def test_a_recycled_pid_is_never_signalled(config):
    config.home.mkdir(parents=True)
    (config.home / "server.pid").write_text(f"{os.getpid()} {psutil.Process().create_time() - 60}\n")
    with pytest.raises(NotFound, match="no server runs that was started in the background"):
        background.stop_server(config)


@pytest.mark.parametrize("text", ["", "garbage", "1 2 3", "-5 0.0", "99999999999 1.0"])
def test_a_damaged_pid_file_is_no_server(config, text):
    config.home.mkdir(parents=True)
    (config.home / "server.pid").write_text(text)
    with pytest.raises(NotFound):
        background.stop_server(config)


def test_a_large_log_is_put_aside(config, client, monkeypatch):
    monkeypatch.setattr(background, "LOG_BYTES", 3)
    log = background.log_path(config)
    log.parent.mkdir(parents=True)
    log.write_text("older")
    background.start(client, config, python(SERVER))
    assert log.read_text() == "session True\n"
    assert log.with_suffix(".previous.log").read_text() == "older"


def test_a_home_that_cannot_be_written_is_one_sentence(config, client):
    config.home.write_text("a file in the way")
    with pytest.raises(PaddockError, match=r"the log .* cannot be written"):
        background.start(client, config, python(SERVER))


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://127.0.0.1:11434", True),
        ("http://[::1]:11434", True),
        ("http://localhost:1", True),
        ("https://127.0.0.1:443", False),
        ("http://192.0.2.1:11434", False),
        ("http://example.org:80", False),
    ],
)
def test_only_a_loopback_address_is_local(url, is_local):
    assert background.is_local(url) is is_local


def test_without_a_server_on_another_machine_nothing_is_started(config, monkeypatch):
    monkeypatch.setenv("PADDOCK_HOST", "https://127.0.0.1:1")
    remote = read_config(os.environ)
    with pytest.raises(NoServer):
        background.ensure_server(Client(remote.address), remote, python(SERVER))
    assert not background.log_path(remote).exists()
