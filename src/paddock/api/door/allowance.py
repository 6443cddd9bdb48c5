"""How much each key may ask for: so many requests a minute, so many at once. It knows neither HTTP nor the file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from paddock.errors import TooManyRequests
from paddock.keys import Key

_MINUTE_SECONDS = 60.0
_AGAIN_SECONDS = 1.0
"""When to come back where nobody knows how long the requests at work will take."""


@dataclass
class _Use:
    """Of one key."""

    tokens: float
    """Requests that it may send at once; they come back evenly over the minute."""
    filled_at: float
    active: int = 0


class Allowance:
    """What is left of each key's. Used from one event loop alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    @contextmanager
    def request(self, key: Key) -> Iterator[None]:
        """One request of a key, from its begin to its end. TooManyRequests."""
        use = self._use(key)
        if key.concurrent and use.active >= key.concurrent:
            raise TooManyRequests(
                f"This API key may have {_count(key.concurrent)} at once: wait for one to end.", _AGAIN_SECONDS
            )
        if key.rate and use.tokens < 1:
            wait_seconds = (1 - use.tokens) * _MINUTE_SECONDS / key.rate
            raise TooManyRequests(
                f"This API key may send {_count(key.rate)} a minute: try again in {wait_seconds:.0f} seconds.",
                wait_seconds,
            )
        use.tokens -= 1
        use.active += 1
        try:
            yield
        finally:
            use.active -= 1
            if not use.active and not key.rate:
                del self._uses[key.id]

    def _use(self, key: Key) -> _Use:
        """With the tokens that have come back by now. One that has been full again is like one that never was."""
        now, most = self._clock(), max(1.0, key.rate)
        use = self._uses.setdefault(key.id, _Use(most, now))
        use.tokens = min(most, use.tokens + (now - use.filled_at) * key.rate / _MINUTE_SECONDS)
        use.filled_at = now
        return use


def _count(number: float) -> str:
    return f"{number:g} request{'' if number == 1 else 's'}"
