"""Spinners and bars at a terminal, which a test replaces by a text buffer that says it is one."""

import io
from contextlib import redirect_stderr

import pytest

from paddock.cli.progress import StatusDisplay, StepDisplay, follow, spinner


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


def test_a_total_becomes_a_bar_and_a_status_a_line(terminal):
    pulling = {"status": "pulling 01[red]", "digest": "sha256:01", "total": 4_000_000}
    with redirect_stderr(terminal):
        follow(
            [
                {"status": "pulling manifest"},
                {**pulling, "completed": 1_000_000},
                {**pulling, "completed": 4_000_000},
                {"status": "success"},
            ]
        )
    for text in ("pulling manifest", "pulling 01[red]", "4.0/4.0 MB", "success"):
        assert text in terminal.getvalue()


def test_files_of_a_pull_have_a_bar_each_and_one_for_all(terminal):
    files = [
        {"status": f"pulling {name}", "digest": name, "total": 2_000_000, "file": f"{name}.safetensors"}
        for name in "ab"
    ]
    with redirect_stderr(terminal):
        follow([*({**file, "completed": 0} for file in files), *({**file, "completed": 2_000_000} for file in files)])
    shown = terminal.getvalue()
    for text in ("a.safetensors", "b.safetensors", "2.0/2.0 MB", "total", "4.0/4.0 MB"):
        assert text in shown


def test_counted_chunks_pass_unchanged(terminal):
    with redirect_stderr(terminal), StatusDisplay() as display:
        assert list(display.counted("hashing files", [b"ab", b"c"], 3)) == [b"ab", b"c"]
    assert "3/3 bytes" in terminal.getvalue()


def test_an_empty_file_needs_no_bar(terminal):
    with redirect_stderr(terminal), StatusDisplay() as display:
        assert list(display.counted("uploading LICENSE", [], 0)) == []
    assert "uploading LICENSE" in terminal.getvalue()


def test_a_spinner_turns_at_a_terminal_only(terminal):
    with redirect_stderr(terminal), spinner("Starting"):
        pass
    assert "Starting" in terminal.getvalue()
    quiet = io.StringIO()
    with redirect_stderr(quiet), spinner("Starting"):
        pass
    assert quiet.getvalue() == ""


def test_a_picture_waits_in_the_queue_and_then_counts_its_steps(terminal):
    with redirect_stderr(terminal), StepDisplay("Generating 1 of 2") as display:
        display.show({"status": "waiting", "queue_position": 3})
        display.show({"total": 8})
        display.show({"completed": 5, "total": 8})
    for text in ("Waiting (place 3 in the queue)", "Generating 1 of 2", "5/8"):
        assert text in terminal.getvalue()


def test_a_picture_that_says_nothing_yet_is_getting_ready(terminal):
    with redirect_stderr(terminal), StepDisplay("Generating"):
        pass
    assert "Getting ready" in terminal.getvalue()


def test_a_status_is_shown_as_it_is(terminal):
    with redirect_stderr(terminal), StepDisplay("Generating") as display:
        display.show({"status": "loading [bold]x[/bold]\x1b[2J"})
    assert "Loading [bold]x[/bold][2j" in terminal.getvalue()


def test_the_steps_of_a_picture_are_told_at_a_terminal_only():
    quiet = io.StringIO()
    with redirect_stderr(quiet), StepDisplay("Generating") as display:
        display.show({"status": "waiting", "queue_position": 3})
        display.show({"completed": 5, "total": 8})
    assert quiet.getvalue() == ""
