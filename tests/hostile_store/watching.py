"""What a watched server did, and how much of it was outside of its store or off its origins."""

from __future__ import annotations

import json
import sys
import sysconfig
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).parents[2]
# Where Python reads modules from, and what the machine tells of itself. None of it is ever written to.
_READABLE = tuple(
    {
        str(REPOSITORY / "src"),
        str(REPOSITORY / "tests"),
        sys.prefix,
        sys.base_prefix,
        *sysconfig.get_paths().values(),
        "/proc",
        "/sys",
    }
)
_DEVICES = ("/dev/null", "/dev/urandom", "/dev/nvidiactl", "/dev/dri")
_SYSTEM_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/mime.types", "/usr/share/zoneinfo")
"""Read whatever is asked for: by the resolver and by Python's own modules."""
_OTHER_PROGRAMS = ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/models")
"""Where another program's service may have what is pulled already."""


@dataclass(frozen=True)
class Event:
    """Something that the server did."""

    name: str
    changes: bool
    subjects: tuple[str, ...]
    """Paths, or an address and a port."""


@dataclass
class Watched:
    """The events of one server, and which folders are its own."""

    file: Path
    own: tuple[Path, ...]
    _read_bytes: int = 0

    def forget(self) -> None:
        """Whatever it did until now was its start."""
        self._read_bytes = self.file.stat().st_size

    def events(self) -> list[Event]:
        """What it did since."""
        with self.file.open("rb") as stream:
            stream.seek(self._read_bytes)
            lines = stream.read().splitlines()
        return [Event(name, changes, tuple(subjects)) for name, changes, subjects in map(json.loads, lines)]

    def outside(self) -> list[Event]:
        """Opens, changes and questions about paths that are neither its own nor Python's."""
        return [event for event in self.events() if event.name != "connect" and not self._is_own(event)]

    def _is_own(self, event: Event) -> bool:
        return all(self._is_allowed(Path(path), changes=event.changes) for path in event.subjects)

    def _is_allowed(self, path: Path, *, changes: bool) -> bool:
        if any(path.is_relative_to(folder) for folder in self.own):
            return True
        if changes:
            return str(path) in _DEVICES
        # The way to its own folders is walked step by step.
        is_ancestor = any(
            folder.is_relative_to(path) for folder in (*self.own, *map(Path, (*_READABLE, *_OTHER_PROGRAMS)))
        )
        allowed = (*_READABLE, *_DEVICES, *_SYSTEM_FILES, *_OTHER_PROGRAMS)
        return is_ancestor or any(path.is_relative_to(place) for place in allowed)

    def connections(self) -> list[tuple[str, int]]:
        """Addresses and ports that it turned to."""
        found = (event.subjects[0].split() for event in self.events() if event.name == "connect")
        return [(address, int(port)) for address, port in found]

    def off_origin(self, allowed: Collection[str]) -> list[tuple[str, int]]:
        """Those of them to other addresses than these."""
        return [found for found in self.connections() if found[0] not in allowed]


@dataclass
class Tally:
    """What became of the entries of a corpus."""

    title: str
    statuses: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    opens_outside: int = 0
    connections_off_origin: int = 0
    credentials_leaked: int = 0

    def add(self, status: int | str) -> None:
        self.entries += 1
        self.statuses[str(status)] += 1


def rows(tallies: list[Tally]) -> Iterator[tuple[str, ...]]:
    for tally in tallies:
        refusals = ", ".join(f"{count} x {status}" for status, count in sorted(tally.statuses.items()))
        harm = (tally.opens_outside, tally.connections_off_origin, tally.credentials_leaked)
        yield (tally.title, str(tally.entries), refusals, *map(str, harm))


def show(tallies: list[Tally]) -> None:
    """The table that `make hostile` prints."""
    table = Table(title="Hostile names, digests, files and servers")
    for heading in ("corpus", "entries", "answers", "opens outside", "connections off origin", "credentials leaked"):
        table.add_column(heading)
    for row in rows(tallies):
        table.add_row(*row)
    Console(width=160).print(table)
