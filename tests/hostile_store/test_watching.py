"""The watch itself: whatever a program opens, asks about or connects to is seen, and what is not its own is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile_store.watching import REPOSITORY, Watched

PROGRAM = """
import os, pathlib, shutil, socket, sys
import tests.hostile_store.watched as watched
watch = watched.Watch(os.environ["WATCH_FILE"])
for name in watched._ASKING:
    watch.asking(name)
watched.Internet({"names": {"public.test": [["8.8.8.8"], ["127.0.0.1"]]}}, watch).install()
sys.addaudithook(watch.hook)
place = pathlib.Path(sys.argv[1])
try:
    exec(sys.argv[2])
except OSError:
    pass
"""


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "own").mkdir()
    (tmp_path / "canary").write_text("x")
    return Watched(tmp_path / "events", (tmp_path / "own",))


def run(watched: Watched, code: str) -> None:
    environment = {**os.environ, "WATCH_FILE": str(watched.file)}
    command = [sys.executable, "-c", PROGRAM, str(watched.file.parent), code]
    subprocess.run(command, env=environment, cwd=REPOSITORY, check=True, timeout=120)


@pytest.mark.parametrize(
    "code",
    [
        "(place / 'canary').read_text()",
        "open(place / 'own' / '..' / 'canary')",
        "os.open(os.fsencode(place / 'canary'), os.O_RDONLY)",
        "(place / 'canary').exists()",
        "os.path.getsize(place / 'canary')",
        "os.access(place / 'canary', os.R_OK)",
        "(place / 'secret').mkdir()",
        "os.rename(place / 'own', place / 'other')",
        "os.link(place / 'canary', place / 'own' / 'link')",
        "(place / 'own' / 'link').symlink_to(place / 'canary')",
        "(place / 'canary').unlink()",
        "os.listdir(place / 'other')",
        "open('/etc/passwd')",
        "open(sys.prefix + '/new', 'w')",
        "import subprocess; subprocess.run(['true'])",
    ],
)
def test_what_is_not_its_own_is_told(watched: Watched, code: str) -> None:
    run(watched, code)
    assert watched.outside()


@pytest.mark.parametrize(
    "code",
    ["(place / 'own' / 'a').write_text('x')", "import mailbox", "open('/proc/self/stat').read()", "os.stat(place)"],
)
def test_what_is_its_own_or_pythons_is_not(watched: Watched, code: str) -> None:
    run(watched, code)
    assert watched.outside() == []
    assert watched.events()


def test_connections_are_told_by_the_address_that_was_wanted(watched: Watched) -> None:
    run(watched, "socket.create_connection(('public.test', 80))")
    run(watched, "socket.create_connection(('127.0.0.1', 9))")
    assert watched.connections() == [("8.8.8.8", 80), ("127.0.0.1", 9)]
    assert watched.off_origin({"8.8.8.8"}) == [("127.0.0.1", 9)]


def test_names_lead_where_the_box_says_and_others_nowhere(watched: Watched) -> None:
    run(watched, "print(socket.getaddrinfo('public.test', 1), file=open(place / 'own' / 'a', 'w'))")
    assert "8.8.8.8" in (watched.own[0] / "a").read_text()
    run(watched, "socket.getaddrinfo('example.com', 1)")
    assert watched.connections() == []


def test_what_happened_before_can_be_forgotten(watched: Watched) -> None:
    run(watched, "(place / 'canary').read_text()")
    watched.forget()
    assert watched.events() == []
    assert json.loads(watched.file.read_text().splitlines()[0])
