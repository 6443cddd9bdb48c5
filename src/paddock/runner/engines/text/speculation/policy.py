"""Whether to foresee tokens, and how many at a time: what they brought, against what they cost. It knows no clock."""

from __future__ import annotations

from collections import deque
from statistics import median_low

from paddock.runner.engines.text.speculation.rules import expected_tokens

DEEPEST = 8
"""Most tokens that are foreseen at a time."""

_HOPED_ACCEPTANCE = 0.7
_HOPE_WEIGHT = 4.0
"""Judgements that the hope counts for, at the beginning of a trial."""
_FADING = 0.97
"""What an earlier judgement counts for after each further one: about the last 30 matter."""
_REMEMBERED = 5
"""Measurements of each kind, of which the middle one counts: others may use the processors too."""
_TRIAL_PASSES = 8
_SURE_PASSES = 2
"""Measurements of a depth before it is believed to cost more than a lower one: the first may have to make room."""
_LEAST_GAIN = 1.05
"""Foreseeing has to be quicker by so much, or it rests."""
_PLAIN_EVERY_PASSES = 32
_SHORTEST_REST_TOKENS = 128
_LONGEST_REST_TOKENS = 4096
_SMALLEST_READ_TOKENS = 16
_LARGEST_READ_TOKENS = 512


class Policy:
    """Learns from passes, and is asked before each. Of one engine, whatever sequence it works for."""

    def __init__(self) -> None:
        self._plain: deque[float] = deque(maxlen=_REMEMBERED)
        self._draft: deque[float] = deque(maxlen=_REMEMBERED)
        self._extra: dict[int, deque[float]] = {}
        """By depth, what a pass took beyond a plain one."""
        self._read_seconds = 0.0
        self._stood, self._judged = _HOPED_ACCEPTANCE * _HOPE_WEIGHT, _HOPE_WEIGHT
        self._passes = 0
        self._plain_due = 2
        self._rest_tokens = 0
        self._next_rest_tokens = _SHORTEST_REST_TOKENS

    @property
    def is_resting(self) -> bool:
        """Whether foreseeing does not pay at present."""
        return self._rest_tokens > 0

    @property
    def acceptance(self) -> float:
        """Of the tokens that were judged lately, the share that stood."""
        return self._stood / self._judged

    @property
    def is_plain_due(self) -> bool:
        """Whether the next pass should be a plain one, to know what that costs."""
        return self._plain_due > 0

    @property
    def read_tokens(self) -> int:
        """What the draft may read of a prompt between two tokens: about as long as a plain pass takes."""
        if not self._plain or self._read_seconds <= 0:
            return _SMALLEST_READ_TOKENS
        return min(max(int(median_low(self._plain) / self._read_seconds), _SMALLEST_READ_TOKENS), _LARGEST_READ_TOKENS)

    def rested(self) -> None:
        """A token was made without foreseeing. After the last one of a rest a new trial begins, full of hope."""
        self._rest_tokens -= 1
        if not self.is_resting:
            self._stood, self._judged = _HOPED_ACCEPTANCE * _HOPE_WEIGHT, _HOPE_WEIGHT
            self._passes, self._plain_due = 0, 2
            self._extra.clear()

    def depth(self, most: int) -> int:
        """How many tokens to foresee now, at most so many: as many as make the quickest pace. 0 begins a rest.

        A depth of up to twice the deepest one so far is taken to cost no more than that, until it was tried: what
        several tokens cost is often one step up from a single one, and then nearly level.
        """
        most = min(most, DEEPEST, 2 * max(self._extra, default=1))
        paces = [self.pace(depth) for depth in range(1, most + 1)]
        best = max(paces)
        if self._passes >= _TRIAL_PASSES and best < _LEAST_GAIN * self.pace(0):
            self._rest_tokens = self._next_rest_tokens
            self._next_rest_tokens = min(2 * self._next_rest_tokens, _LONGEST_REST_TOKENS)
            return 0
        return 1 + paces.index(best)

    def pace(self, depth: int) -> float:
        """Tokens per second to be expected of passes of this depth, once something was measured."""
        seconds = median_low(self._plain)
        if depth:
            seconds += depth * median_low(self._draft or [0.0]) + self._extra_seconds(depth)
        return expected_tokens(self.acceptance, depth) / seconds

    def _extra_seconds(self, depth: int) -> float:
        """Between two depths that are known, what lies between; beyond the deepest no more than that."""
        known = [each for each, seconds in self._extra.items() if len(seconds) >= _SURE_PASSES]
        lower = max((each for each in known if each <= depth), default=0)
        upper = min((each for each in known if each >= depth), default=lower)
        low, high = (median_low(self._extra[each]) if each else 0.0 for each in (lower, upper))
        return low if upper == lower else low + (high - low) * (depth - lower) / (upper - lower)

    def was_plain(self, seconds: float) -> None:
        """A pass over one token took so long."""
        self._plain.append(seconds)
        self._plain_due = max(0, self._plain_due - 1)

    def was_ahead(self, depth: int, draft_seconds: float, pass_seconds: float) -> None:
        """The draft foresaw `depth` tokens, and the model read them all at once."""
        self._draft.append(draft_seconds / depth)
        known = self._extra.setdefault(depth, deque(maxlen=_REMEMBERED))
        known.append(max(0.0, pass_seconds - median_low(self._plain)))
        self._passes += 1
        if self._passes % _PLAIN_EVERY_PASSES == 0:
            self._plain_due = 1
            self._extra.clear()  # costs change as a text grows, and those of a depth that is not chosen are not seen
            self._next_rest_tokens = _SHORTEST_REST_TOKENS

    def was_read(self, tokens: int, seconds: float) -> None:
        """The draft read so much of a prompt."""
        self._read_seconds = seconds / tokens

    def was_judged(self, *, stands: bool) -> None:
        """A foreseen token was the one that came, or was not."""
        self._stood = self._stood * _FADING + stands
        self._judged = self._judged * _FADING + 1
