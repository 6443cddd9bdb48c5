"""The guardian's program: when the server is gone, kill the groups of the runners that it left behind, and end.

It reads `+ <group> <start>` and `- <group>` lines on standard input. It is run by path, without site packages and
without the rest of Paddock, so that it costs milliseconds and little memory; nothing here may import more than it does.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Read until the server's end of the pipe closes."""
    # The server decides when it ends; what a terminal or a service manager sends to all is not meant for this one.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, str] = {}
    pending = b""
    while chunk := os.read(0, 65536):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            note(groups, line.decode("ascii").split())
    for group, start in groups.items():
        if is_same(group, start):
            kill(group)


def note(groups: dict[int, str], words: list[str]) -> None:
    """Take in one line."""
    if words[0] == "+":
        groups[int(words[1])] = words[2] if len(words) > 2 else ""
    else:
        groups.pop(int(words[1]), None)


def is_same(group: int, start: str) -> bool:
    """Whether the group is the one that was meant. Its leader may have ended before its children; another leader with
    its number was started at another time."""
    if not start or not sys.platform.startswith("linux"):
        return True
    try:
        with open(f"/proc/{group}/stat", "rb") as file:  # noqa: PTH123 -- pathlib would double the start of the program
            return file.read().rpartition(b")")[2].split()[19].decode() == start
    except OSError:
        return True


def kill(group: int) -> None:
    """SIGKILL, which also ends what is stopped."""
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        return


if __name__ == "__main__":
    main()
