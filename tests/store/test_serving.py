"""A store has one server; and that one tidies it up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys

import pytest

from paddock.errors import StoreError
from paddock.store.library import Library
from paddock.store.serving import keep_tidy, served_alone
from tests.fakes.waiting import until

SERVE = """
import sys, time
from pathlib import Path
from paddock.store.serving import served_alone

with served_alone(Path(sys.argv[1]), "http://127.0.0.1:1234"):
    print("serving", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def serving(root):
    with subprocess.Popen([sys.executable, "-c", SERVE, str(root)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "serving\n"
            yield process
        finally:
            process.kill()


def test_a_second_server_is_told_who_the_first_is(tmp_path):
    with serving(tmp_path) as process:
        sentence = (
            f"The models in {tmp_path} are served by process {process.pid} at http://127.0.0.1:1234 already: stop that "
            "server, or set PADDOCK_MODELS to another folder."
        )
        with pytest.raises(StoreError, match=f"^{re.escape(sentence)}$"), served_alone(tmp_path, "http://x"):
            pass


def test_a_server_that_was_killed_is_in_nobodys_way(tmp_path):
    with serving(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with served_alone(tmp_path, "http://x"):
            assert str(os.getpid()) in (tmp_path / "server").read_text()
    assert (tmp_path / "server").read_text() == ""


def test_commands_are_not_kept_out(tmp_path):
    with serving(tmp_path):
        library = Library(tmp_path)
        library.blobs.add_bytes(b"x")
        assert library.collect(older_than_seconds=-1).freed_bytes == 1


def test_another_folder_has_a_server_of_its_own(tmp_path):
    with serving(tmp_path / "one"), served_alone(tmp_path / "two", "http://x"):
        pass


async def test_a_server_tidies_up_whatever_happens(tmp_path, monkeypatch):
    library, calls = Library(tmp_path), []

    def collect():
        calls.append(1)
        if len(calls) == 1:
            raise StoreError("The folder of models cannot be used: input or output failed.")
        return Library.collect(library)

    monkeypatch.setattr(library, "collect", collect)
    tidying = asyncio.create_task(keep_tidy(library, 0.0, 0.0))
    await until(lambda: len(calls) >= 3, 5.0, "collections")
    tidying.cancel()
    await asyncio.wait({tidying})
    assert tidying.cancelled()
