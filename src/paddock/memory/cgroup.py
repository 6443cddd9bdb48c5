"""What a control group leaves a process of the machine's memory: Linux, both versions, every group above it too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/")


@dataclass(frozen=True)
class Limit:
    """One group's bound, in bytes."""

    limit_bytes: int
    available_bytes: int
    """Until the bound, pages of files that the kernel would give up first not counted."""


@dataclass(frozen=True)
class _Files:
    """Where a version of control groups says what."""

    limit: str
    usage: str
    statistics_prefix: str


_VERSIONS = {
    "cgroup2": _Files("memory.max", "memory.current", ""),
    "cgroup": _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}


def limits(root: Path = ROOT) -> list[Limit]:
    """The bounds of all groups that this process is in; none where there are none or they cannot be read."""
    try:
        groups = list(_groups(root))
    except (OSError, ValueError):
        return []
    return [limit for folder, files in groups if (limit := _limit(folder, files)) is not None]


def _groups(root: Path) -> Iterator[tuple[Path, _Files]]:
    """The folders of this process's group and of all above it, in each hierarchy that bounds memory."""
    own = dict(_own_paths((root / "proc/self/cgroup").read_text()))
    for kind, mount_root, mount_point in _mounts((root / "proc/self/mountinfo").read_text()):
        path = own.get(kind)
        if path is None:
            continue
        inside = PurePosixPath(path)
        # In a container the group's name may lie outside of what is mounted: then the mount is the group itself.
        relative = inside.relative_to(mount_root) if inside.is_relative_to(mount_root) else PurePosixPath()
        top = root / mount_point.lstrip("/")
        folder = top / relative if (top / relative).is_dir() else top
        for group in (folder, *folder.parents):
            yield group, _VERSIONS[kind]
            if group == top:
                break


def _own_paths(text: str) -> Iterator[tuple[str, str]]:
    """The kind of each hierarchy and the process's path in it, from /proc/self/cgroup."""
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            yield "cgroup2", path
        elif "memory" in controllers.split(","):
            yield "cgroup", path


def _mounts(text: str) -> Iterator[tuple[str, str, str]]:
    """Kind, root and place of each mounted hierarchy, from /proc/self/mountinfo (proc(5) has the fields)."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(maxsplit=2)
        if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(",")):
            yield kind, fields[3], fields[4]


def _limit(folder: Path, files: _Files) -> Limit | None:
    try:
        stated = (folder / files.limit).read_text().strip()
        usage_bytes = int((folder / files.usage).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        limit_bytes = int(stated)
    except (OSError, ValueError):  # the topmost group has no bound, and "max" is none
        return None
    inactive = int(statistics.get(f"{files.statistics_prefix}inactive_file", 0))
    active = int(statistics.get(f"{files.statistics_prefix}active_file", 0))
    # As the kernel counts MemAvailable: of the pages of files that were used lately, half.
    held_bytes = max(0, usage_bytes - inactive - active // 2)
    return Limit(limit_bytes, max(0, limit_bytes - held_bytes))
