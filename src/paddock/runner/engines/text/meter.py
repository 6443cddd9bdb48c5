"""What this process holds and has held at most: MLX's arrays, and its own memory as the system counts it."""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Sequence as Items
from pathlib import Path

import mlx.core as mx
import psutil

from paddock.protocol import MemoryTerms

_STATUS = Path("/proc/self/status")
_LINE = re.compile(r"^(VmHWM|RssAnon|RssFile|RssShmem):\s+(\d+) kB$", re.MULTILINE)


class Meter:
    """Peaks since the load, and how far sequences had come by then. Used by the thread that owns MLX."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._weights_bytes = 0
        self._runtime_bytes = 0
        self._load_peak_bytes = 0
        self._prefill_peak_bytes = 0
        self._peak_before_bytes = 0
        self._longest_tokens = 0
        self._most_sequences = 0
        self._most_tokens = 0
        self._prefix_bytes = 0
        self._prefix_peak_bytes = 0

    def loaded(self, weights_bytes: int) -> None:
        """The model is there."""
        self._weights_bytes = weights_bytes
        private, private_peak = private_bytes()
        is_apart = _is_on_accelerator()
        self._runtime_bytes = 0 if is_apart else max(0, private - mx.get_active_memory())
        self._load_peak_bytes = mx.get_peak_memory() if is_apart else private_peak

    def begin(self) -> None:
        """Work begins after a rest: peaks of single requests count from here."""
        self._peak_before_bytes = max(self._peak_before_bytes, mx.get_peak_memory())
        mx.reset_peak_memory()

    def prompt_read(self) -> None:
        """A sequence makes its first token from here on."""
        self._prefill_peak_bytes = mx.get_peak_memory()

    def stepped(self, lengths: Items[int]) -> None:
        """A step was made, with sequences of so many tokens."""
        self._longest_tokens = max(self._longest_tokens, max(lengths, default=0))
        self._most_sequences = max(self._most_sequences, len(lengths))
        self._most_tokens = max(self._most_tokens, sum(lengths))

    def prefixes_kept(self, size_bytes: int) -> None:
        """So much is kept of earlier prompts now."""
        self._prefix_bytes = size_bytes
        self._prefix_peak_bytes = max(self._prefix_peak_bytes, size_bytes)

    def read(self) -> MemoryTerms:
        """The figures now."""
        private, private_peak = private_bytes()
        peak = mx.get_peak_memory()
        return MemoryTerms(
            weights_bytes=self._weights_bytes,
            active_bytes=mx.get_active_memory(),
            cache_bytes=mx.get_cache_memory(),
            peak_bytes=max(peak, self._peak_before_bytes),
            resident_bytes=self._process.memory_info().rss,
            private_bytes=private,
            private_peak_bytes=private_peak,
            runtime_bytes=self._runtime_bytes,
            load_peak_bytes=self._load_peak_bytes,
            prefill_peak_bytes=self._prefill_peak_bytes,
            request_peak_bytes=peak,
            longest_tokens=self._longest_tokens,
            most_sequences=self._most_sequences,
            most_tokens=self._most_tokens,
            prefix_bytes=self._prefix_bytes,
            prefix_peak_bytes=self._prefix_peak_bytes,
            is_on_accelerator=_is_on_accelerator(),
        )


def private_bytes() -> tuple[int, int]:
    """What this process alone holds, now and at most: its resident pages that are neither of files nor shared.

    Linux keeps the high-water mark for all resident pages; those of files, mostly libraries, only ever become more, so
    that taking away what there is of them now is right or slightly too little. Elsewhere the whole resident set stands
    for it.
    """
    try:
        found = {name: int(kibibytes) * 1024 for name, kibibytes in _LINE.findall(_STATUS.read_text())}
        others = found["RssFile"] + found["RssShmem"]
        return found["RssAnon"], max(found["RssAnon"], found["VmHWM"] - others)
    except (OSError, KeyError):
        unit_bytes = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes
        return psutil.Process().memory_info().rss, peak


def _is_on_accelerator() -> bool:
    return bool(mx.default_device() == mx.gpu)
