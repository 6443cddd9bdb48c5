"""The command as a process: how fast it starts, and what it says when it is used wrongly."""

import re
import subprocess
import sys
import time

import pytest

from paddock.cli import serve
from paddock.errors import PaddockError


def seconds_of(command):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def test_help_costs_little_more_than_importing_typer():
    helping = seconds_of([sys.executable, "-m", "paddock", "--help"])
    importing = seconds_of([sys.executable, "-c", "import typer"])
    print(f"paddock --help: {helping:.3f} s, import typer: {importing:.3f} s")
    assert helping < 3 * importing


def test_the_table_of_commands_imports_nothing_heavy():
    code = "import sys, paddock.cli.main; print(' '.join(sorted(sys.modules)))"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "typer" in modules
    assert not {"rich", "prompt_toolkit", "http.client", "aiohttp", "msgspec", "psutil", "uvicorn"} & set(modules)


def test_help_lists_every_command_but_no_alias(paddock_command):
    lines = paddock_command("--help").out.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in lines] == [
        "serve", "run", "create", "pull", "push", "list", "ps", "fit", "show", "stop", "cp", "rm", "key", "store",
    ]  # fmt: skip


def test_help_of_run_puts_flags_for_texts_and_for_pictures_apart(paddock_command):
    sections = re.split(r"\n(?=\w+:\n)", paddock_command("run", "--help").out)[1:]
    flags = {section.split(":")[0]: re.findall(r"^  (?:-\w, )?(--\w+)", section, re.MULTILINE) for section in sections}
    assert flags == {
        "Arguments": [],
        "Options": ["--keepalive", "--verbose", "--help"],
        "Texts": ["--nowordwrap", "--format", "--think", "--hidethinking"],
        "Pictures": [
            *("--width", "--height", "--steps", "--seed", "--negative", "--guidance"),
            *("--n", "--image", "--strength", "--from", "--output"),
        ],
    }


def test_without_a_command_the_help_is_shown(paddock_command):
    assert paddock_command().out == paddock_command("-h").out


@pytest.mark.parametrize("arguments", [["frobnicate"], ["run"], ["show"], ["cp", "one"], ["list", "--frob"]])
def test_wrong_usage_exits_with_two(paddock_command, arguments):
    outcome = paddock_command(*arguments)
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert "Usage:" in outcome.err


def test_serve_passes_the_settings_to_the_server(monkeypatch, paddock_command):
    served = []
    monkeypatch.setenv("PADDOCK_HOST", "127.0.0.1:4321")
    monkeypatch.setattr("paddock.app.serve", served.append)
    assert paddock_command("serve").exit_code == 0
    assert paddock_command("start").exit_code == 0
    assert [config.address.port for config in served] == [4321, 4321]


def test_serve_tells_why_it_cannot_start(monkeypatch):
    def fail(config):
        raise OSError(98, "Address already in use")

    monkeypatch.setattr("paddock.app.serve", fail)
    monkeypatch.setenv("PADDOCK_HOST", "127.0.0.1:4321")
    with pytest.raises(PaddockError) as raised:
        serve.serve()
    assert raised.value.message == "the server cannot start at http://127.0.0.1:4321: Address already in use."
