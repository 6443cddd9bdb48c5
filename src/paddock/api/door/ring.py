"""The keys as the file has them at this moment: a key that is made or revoked counts from the next request on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from paddock.keys import Key, KeyFile, hash_of


def _now() -> datetime:
    return datetime.now(UTC)


class KeyRing:
    """Looks at the file before every answer, which costs a microsecond or two, and reads it when it has changed."""

    def __init__(self, file: KeyFile, now: Callable[[], datetime] = _now) -> None:
        self._file = file
        self._now = now
        self._mark: tuple[int, ...] = ()
        self._keys: tuple[Key, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether no key would be taken now."""
        now = self._now()
        return all(key.is_over(now) for key in self._current())

    def find(self, secret: str) -> Key | None:
        """The key that this is the secret of, unless it is over. StoreError while the file cannot be read."""
        hashed, now = hash_of(secret), self._now()
        # Every key is tried, whichever it is, so that the time tells nothing.
        matching = [key for key in self._current() if key.is_opened_by(hashed)]
        return next((key for key in matching if not key.is_over(now)), None)

    def _current(self) -> tuple[Key, ...]:
        mark = self._file.mark()
        if mark != self._mark:
            self._keys = self._file.read()
            self._mark = mark
        return self._keys
