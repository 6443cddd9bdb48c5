"""`python -m tests.hostile_store.watched COMMAND …`: Paddock's own program, with everything written down that it opens,
asks about, and connects to; and with an internet in a box, so that there are public addresses without a network.

`WATCH_FILE` is where it writes. `WATCH_INTERNET` is JSON: `names` lead to addresses, one list after the other as they
are asked for; `routes` lead from an address to one that really listens. Nothing else can be reached.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PATHS = {
    "open": 1, "os.listdir": 1, "os.scandir": 1, "os.mkdir": 1, "os.rmdir": 1, "os.remove": 1, "os.rename": 2,
    "os.link": 2, "os.symlink": 2, "os.truncate": 1, "os.chmod": 1, "os.chown": 1, "os.utime": 1, "shutil.rmtree": 1,
}  # fmt: skip
"""Events of `sys.audit` whose first arguments are so many paths."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_ASKING = ("stat", "lstat", "access", "readlink")
"""Functions of `os` that open nothing, but tell whether something is there; `sys.audit` does not know of them."""


class Watch:
    """Writes one line of JSON for each event: its name, whether it may change something, and its paths or address."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._here = Path.cwd()

    def note(self, event: str, subject: list[str], *, changes: bool) -> None:
        os.write(self._file, json.dumps([event, changes, subject]).encode() + b"\n")

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """For `sys.addaudithook`."""
        if event in _PATHS:
            given = arguments[: _PATHS[event]]
            changes = bool(arguments[2] & _WRITES) if event == "open" else event not in ("os.listdir", "os.scandir")
            self.paths(event, given, changes=changes)
        elif event == "subprocess.Popen":
            self.note(event, [str(arguments[0])], changes=True)

    def paths(self, event: str, given: tuple[Any, ...], *, changes: bool = False) -> None:
        paths = [path for path in given if isinstance(path, str | bytes) or hasattr(path, "__fspath__")]
        if paths:
            found = [os.path.normpath(self._here / os.fsdecode(path)) for path in paths]
            self.note(event, found, changes=changes)

    def asking(self, name: str) -> None:
        """Have a function of `os` tell what it is asked about."""
        original: Callable[..., Any] = getattr(os, name)

        def watched(path: Any, *arguments: Any, **more: Any) -> Any:
            self.paths(f"os.{name}", (path,))
            return original(path, *arguments, **more)

        setattr(os, name, watched)


class Internet:
    """Names and routes of the test, in place of the network's."""

    def __init__(self, described: dict[str, Any], watch: Watch) -> None:
        self._names: dict[str, list[list[str]]] = described.get("names", {})
        self._routes: dict[str, str] = described.get("routes", {})
        self._watch = watch
        self._look_up = socket.getaddrinfo
        self._connect = socket.socket.connect

    def install(self) -> None:
        """Take the place of Python's own functions."""
        socket.getaddrinfo = self.look_up  # type: ignore[assignment]
        internet = self

        def connect(self: socket.socket, address: Any) -> None:
            internet.connect(self, address)

        socket.socket.connect = connect  # type: ignore[method-assign,assignment]

    def look_up(self, host: Any, port: Any, *arguments: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in self._names:
            answers = self._names[name]
            addresses = answers.pop(0) if len(answers) > 1 else answers[0]
            return [found for address in addresses for found in self._look_up(address, port, *arguments, **more)]
        if name and not name.replace(".", "").replace(":", "").isalnum():
            raise socket.gaierror(socket.EAI_NONAME, "there is no such name in the box")
        flags = {**more, "flags": more.get("flags", 0) | socket.AI_NUMERICHOST}
        return self._look_up(host, port, *arguments[:3], **flags)

    def connect(self, connection: socket.socket, address: Any) -> None:
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            self._watch.note("connect", [f"{address[0]} {address[1]}"], changes=True)
            if address[0] not in self._routes:
                raise ConnectionRefusedError(111, "nothing listens there in the box")
            address = (self._routes[address[0]], *address[1:])
        self._connect(connection, address)


def main() -> None:
    """Watch, and run the command."""
    # All that a server consists of first: nothing of that is to be watched.
    from paddock import app  # noqa: F401
    from paddock.cli.main import main as paddock
    from paddock.store.transfer import patience

    patience.LONGEST_PAUSE_SECONDS = 0.0  # what may be tried again is, at once
    watch = Watch(os.environ["WATCH_FILE"])
    for name in _ASKING:
        watch.asking(name)
    Internet(json.loads(os.environ.get("WATCH_INTERNET", "{}")), watch).install()
    sys.addaudithook(watch.hook)
    paddock()


if __name__ == "__main__":
    main()
