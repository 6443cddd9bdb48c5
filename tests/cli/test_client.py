"""The client of the HTTP API."""

import os
import socket
import threading

import pytest

from paddock.cli.client import Client, NoServer, connect
from paddock.config import parse_address, read_config
from paddock.errors import NotFound, PaddockError


def test_an_answer_is_its_json_object(server):
    assert connect().call("GET", "/api/tags") == {"models": []}


def test_an_empty_answer_is_an_empty_object(server):
    assert connect().call("POST", "/api/copy", {"source": "demo", "destination": "other"}) == {}


def test_an_error_is_the_servers_sentence(server):
    server.failures["/api/tags"] = (500, {"error": "the store cannot be read."})
    with pytest.raises(PaddockError) as raised:
        connect().call("GET", "/api/tags")
    assert raised.value.message == "the store cannot be read."


def test_a_404_is_not_found(server):
    with pytest.raises(NotFound, match="model 'none' not found"):
        connect().call("POST", "/api/show", {"model": "none"})


@pytest.mark.parametrize("body", [b"<html>", b'"text"', b"[]", b'{"error"'])
def test_an_error_without_a_sentence_names_its_status(server, body):
    server.failures["/api/tags"] = (502, body)
    with pytest.raises(PaddockError, match=f"the server at {server.url} answered with status 502"):
        connect().call("GET", "/api/tags")


def test_an_answer_that_is_no_json_is_another_program(server):
    server.failures["/api/tags"] = (200, b"hello")
    with pytest.raises(PaddockError, match="does not speak Paddock's API"):
        connect().call("GET", "/api/tags")


def test_a_line_as_long_as_a_picture_arrives_whole(server, updates):
    server.generated = updates["generate"]("x" * 3_000_000, "y")
    first, second, _ = connect().stream("/api/generate", {"model": "demo", "prompt": "x"})
    assert (first["response"], second["response"]) == ("x" * 3_000_000, "y")


def test_a_stream_yields_its_lines(server):
    server.statuses = [{"status": "reading"}, {"status": "success"}]
    assert list(connect().stream("/api/pull", {"model": "x"})) == server.statuses


def test_an_error_line_ends_a_stream(server):
    server.statuses = [{"status": "reading"}, {"error": "the disk is full."}]
    stream = connect().stream("/api/pull", {"model": "x"})
    assert next(stream) == {"status": "reading"}
    with pytest.raises(PaddockError, match="the disk is full"):
        next(stream)


def test_a_stream_that_breaks_off_is_an_error(server):
    server.cuts = True
    server.statuses = [{"status": "reading"}, {"status": "success"}]
    with pytest.raises(PaddockError, match="closed the connection before its answer was complete"):
        list(connect().stream("/api/pull", {"model": "x"}))


def test_closing_a_stream_hangs_up(server, updates):
    server.hangs = True
    stream = connect().stream("/api/generate", {"model": "demo", "prompt": "hi"})
    assert next(stream)["response"] == "Hello"
    stream.close()
    assert server.has_hung_up.wait(5)


def test_nothing_listening_is_no_server(no_server):
    client = connect()
    assert not client.is_answering()
    with pytest.raises(
        NoServer, match=f"could not connect to a Paddock server at {no_server}: start one with `paddock serve`"
    ):
        client.call("GET", "/api/tags")


def test_a_listener_that_never_answers_is_not_answering(monkeypatch):
    monkeypatch.setattr("paddock.cli.client.PROBE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert not Client(parse_address(f"127.0.0.1:{mute.getsockname()[1]}")).is_answering()


def test_a_refusal_in_the_middle_of_an_upload_is_the_servers_sentence():
    refusal = b'{"error": "digest mismatch"}'

    def refuse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(refusal), refusal))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        client = Client(parse_address(f"127.0.0.1:{listener.getsockname()[1]}"))
        with pytest.raises(PaddockError, match="digest mismatch"):
            client.upload("/api/blobs/sha256:0", (b"x" * 1000 for _ in range(100)), 100_000)
        thread.join()


@pytest.mark.parametrize("variable", ["PADDOCK_HOST", "OLLAMA_HOST"])
def test_the_address_comes_from_the_environment(server, monkeypatch, variable):
    url = server.url
    monkeypatch.delenv("PADDOCK_HOST")
    monkeypatch.setenv(variable, url)
    assert connect().url == url
    assert connect().is_answering()


def test_paddocks_own_variable_comes_first(monkeypatch):
    monkeypatch.setenv("PADDOCK_HOST", "127.0.0.1:1111")
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:2222")
    assert Client(read_config(os.environ).address).url == "http://127.0.0.1:1111"


def test_a_path_in_the_address_goes_before_every_route(server, monkeypatch):
    monkeypatch.setenv("PADDOCK_HOST", f"{server.url}/models")
    server.failures["/models/api/tags"] = (200, {"models": []})
    assert connect().call("GET", "/api/tags") == {"models": []}
