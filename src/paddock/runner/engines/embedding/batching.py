"""Which texts are computed together: of about one length, so that little is padding, and never too many. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass
class _Job(Generic[Key]):
    key: Key
    lengths: tuple[int, ...]
    left: list[int] = field(default_factory=list)
    """Indices of the texts that are still to do, the longest last."""


class Batches(Generic[Key]):
    """The texts of all jobs that are still to do.

    Jobs lead in turn: each batch begins with the longest text left of the job whose turn it is. It is filled with texts
    of that job, then of the others, which are at least half as long, as long as there is room for all at the length of
    the longest. So at most half of a batch is padding, and a job with one text waits for one batch of each other job.
    """

    def __init__(self, most_tokens: int) -> None:
        """`most_tokens` of a batch, padding included; a text that is longer is computed alone."""
        self._most_tokens = most_tokens
        self._jobs: deque[_Job[Key]] = deque()

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def add(self, key: Key, lengths: Sequence[int]) -> None:
        """A job with texts of these lengths in tokens, at least one."""
        order = sorted(range(len(lengths)), key=lambda index: lengths[index])
        self._jobs.append(_Job(key, tuple(lengths), order))

    def remove(self, key: Key) -> None:
        """Forget what is left of a job."""
        self._jobs = deque(job for job in self._jobs if job.key != key)

    def take(self) -> list[tuple[Key, int]]:
        """The next batch as pairs of job and text; they are no longer left afterwards. Empty if there is nothing."""
        if not self._jobs:
            return []
        leader = self._jobs[0]
        longest = leader.lengths[leader.left[-1]]
        room = max(1, self._most_tokens // longest)
        batch: list[tuple[Key, int]] = []
        for job in self._jobs:
            batch += self._fitting(job, longest, room - len(batch))
        self._jobs.rotate(-1)
        self._jobs = deque(job for job in self._jobs if job.left)
        return batch

    def _fitting(self, job: _Job[Key], longest: int, room: int) -> list[tuple[Key, int]]:
        """So many texts of a job, from the longest that is not too long down to half of that."""
        end = next((place for place in range(len(job.left), 0, -1) if job.lengths[job.left[place - 1]] <= longest), 0)
        start = end
        while start > 0 and end - start < room and 2 * job.lengths[job.left[start - 1]] >= longest:
            start -= 1
        taken = job.left[start:end]
        del job.left[start:end]
        return [(job.key, index) for index in reversed(taken)]
