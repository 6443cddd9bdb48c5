"""What models were seen to hold on this machine, kept on disk so that the next load is foreseen better."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import secrets
from dataclasses import replace
from pathlib import Path

import msgspec

from paddock import __version__
from paddock.memory.correction import Point, Seen
from paddock.memory.estimate import WORKER_BYTES, Need, Settings
from paddock.protocol import MemoryTerms

log = logging.getLogger(__name__)

FILE = "peaks.json"
MOST_MODELS = 256
MOST_POINTS = 16
MOST_BYTES = 4 * 1024 * 1024


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    seen: dict[str, Seen] = {}
    """By key, the one used last at the end."""


class Observed:
    """The peaks of all models. One owner, the scheduler's; a file that cannot be read or written is no peaks, and said
    in the log."""

    def __init__(self, folder: Path, accelerator: str = "") -> None:
        """`accelerator`: its name, if models run on one."""
        self._path = folder / FILE
        self._accelerator = accelerator
        self._versions = f"{__version__}|{_mlx_version()}"
        self._seen = _read(self._path)

    def seen(self, digest: str, settings: Settings, *, on_accelerator: bool) -> Seen | None:
        """What is known of a model, by these versions of Paddock and MLX on this device, with its weights in this
        form, with its draft or without, its pictures in such tiles and its parts in memory together or in turn."""
        return self._seen.get(self._key(digest, settings, on_accelerator))

    def learn(self, digest: str, memory: MemoryTerms, settings: Settings, foreseen: Need) -> bool:
        """Take in what a runner says of itself. Whether it was news; then it is on disk as well."""
        key = self._key(digest, settings, memory.is_on_accelerator)
        before = self._seen.get(key)
        after = merged(before, seen_of(memory, settings, foreseen))
        if after == before:
            return False
        self._seen.pop(key, None)
        self._seen[key] = after
        for oldest in list(self._seen)[:-MOST_MODELS]:
            del self._seen[oldest]
        _write(self._path, self._seen)
        return True

    def _key(self, digest: str, settings: Settings, on_accelerator: bool) -> str:
        device = self._accelerator or "accelerator" if on_accelerator else "cpu"
        device += " packed" if settings.keep_packed else ""
        device += " draft" if settings.speculates else ""
        device += f" tiles {settings.tile_pixels}" if settings.tile_pixels else ""
        device += " staged" if settings.staged else ""
        return "|".join((digest, device, self._versions))


def seen_of(memory: MemoryTerms, settings: Settings, foreseen: Need) -> Seen:
    """What one runner's figures say. With an accelerator its own process is not among them: as foreseen. Else only the
    process beside it is not."""
    measured = memory.runtime_bytes + WORKER_BYTES if memory.runtime_bytes else 0
    runtime = measured or foreseen.runtime_bytes
    on_top = _uncounted_bytes(memory, runtime)
    load_bytes = memory.load_peak_bytes + on_top - memory.weights_bytes - runtime - foreseen.draft_bytes
    points: tuple[Point, ...] = ()
    if memory.most_sequences:
        peak = memory.most_bytes + on_top
        reached = (memory.longest_tokens, memory.most_sequences, memory.most_tokens)
        points = (Point(*reached, settings.num_batch, settings.kv_bits, peak, memory.prefix_peak_bytes),)
    return Seen(memory.weights_bytes, measured, max(0, load_bytes), points)


def peak_of(memory: MemoryTerms, foreseen: Need) -> int:
    """What a runner came to hold in all, to compare with what was foreseen; 0 while it has said nothing."""
    return memory.most_bytes + _uncounted_bytes(memory, foreseen.runtime_bytes) if memory.most_bytes else 0


def _uncounted_bytes(memory: MemoryTerms, runtime_bytes: int) -> int:
    return runtime_bytes if memory.is_on_accelerator else WORKER_BYTES


def merged(before: Seen | None, now: Seen) -> Seen:
    """Both together: the terms of the later one, the highest peak for each reach, and of many the farthest."""
    if before is None:
        return now
    points = {_reach(point): point for point in before.points}
    for point in now.points:
        known = points.get(_reach(point))
        points[_reach(point)] = point if known is None else _higher(known, point)
    farthest = sorted(points.values(), key=lambda point: (point.tokens, point.longest_tokens))[-MOST_POINTS:]
    # A few pages more or less are no news: they would be written down after every load.
    is_near = abs(now.runtime_bytes - before.runtime_bytes) < _NOISE_BYTES
    is_near = is_near and abs(now.load_bytes - before.load_bytes) < _NOISE_BYTES
    terms = before if is_near and now.weights_bytes == before.weights_bytes else now
    return replace(terms, points=tuple(farthest))


_NOISE_BYTES = 4 * 1024 * 1024


def _reach(point: Point) -> tuple[int, int, int, int]:
    return (-(-point.longest_tokens // 256), point.sequences, point.num_batch, point.kv_bits)


def _higher(known: Point, now: Point) -> Point:
    if now.peak_bytes <= known.peak_bytes + _NOISE_BYTES and now.tokens <= known.tokens:
        return known
    return replace(
        now,
        longest_tokens=max(known.longest_tokens, now.longest_tokens),
        tokens=max(known.tokens, now.tokens),
        peak_bytes=max(known.peak_bytes, now.peak_bytes),
    )


def _mlx_version() -> str:
    try:
        return importlib.metadata.version("mlx")
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _read(path: Path) -> dict[str, Seen]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        return msgspec.json.decode(path.read_bytes(), type=_Stored).seen
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("event=peaks_unreadable why=%r: models are foreseen without what was seen of them", str(error))
        return {}


def _write(path: Path, seen: dict[str, Seen]) -> None:
    building = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        building.write_bytes(msgspec.json.encode(_Stored(seen)))
        os.replace(building, path)  # noqa: PTH105 - the atomic one, by its name
    except OSError as error:
        log.warning("event=peaks_not_kept why=%r", error.strerror or str(error))
        with contextlib.suppress(OSError):
            building.unlink()
