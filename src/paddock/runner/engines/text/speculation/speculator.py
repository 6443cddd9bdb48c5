"""Decodes one sequence with a draft: what the draft foresees is read together with the token that is certain, in one
pass, and then each token is chosen as it always is. What was foreseen wrongly is taken back.

Only a sequence that decodes alone is foreseen for. Beside others the passes are shared already, and each sequence would
have to be taken back by another length, which merged caches cannot. Its tokens are chosen by its own options, penalties
and constraint, at each place after those before it, so nothing else of a generation knows that there is a draft:

- Greedy and seeded choices come out as without one, up to what rounding does in passes over several tokens at once.
- Without a seed the draft draws by itself, and the token is judged by `rules.judged`: the same distribution, and more
  of what was foreseen stands.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import mlx.core as mx
import numpy as np

from paddock.runner.engines.text.batch import Batch
from paddock.runner.engines.text.sampling import host as host_sampling
from paddock.runner.engines.text.sampling.options import Floats, Ints, Options
from paddock.runner.engines.text.sequence import Sequence
from paddock.runner.engines.text.speculation.draft import Draft, Foreseen
from paddock.runner.engines.text.speculation.policy import Policy
from paddock.runner.engines.text.speculation.rules import judged

_CAUGHT_UP_TOKENS = 16
"""So few tokens the draft reads on its way, without a pass for them alone."""


class Speculator:
    """What was foreseen and is not judged yet. It changes the batch that it is given, and the draft, and no more."""

    def __init__(self, draft: Draft, policy: Policy, clock: Callable[[], float] = time.monotonic) -> None:
        self._draft = draft
        self._policy = policy
        self._clock = clock
        self._foreseen: deque[Foreseen] = deque()
        self._logits: mx.array | None = None
        """(tokens, vocabulary): after the token that was certain, and after each that was foreseen."""
        self._place = 0

    @property
    def is_ahead(self) -> bool:
        """Whether the model has read tokens that are not chosen yet."""
        return bool(self._foreseen)

    def wants(self, batch: Batch, rows: list[Sequence]) -> bool:
        """Whether the next token is for `feed`; asked once for each token, which in a rest is all that happens."""
        if self.is_ahead:
            return True
        if len(rows) != 1 or self._most(batch, rows[0]) < 1:
            return False
        if self._policy.is_resting:
            self._policy.rested()
        return not self._policy.is_resting

    def choose(self, logits: Floats, options: Options, rows: list[Sequence]) -> Ints:
        """The next token (1,) of the only sequence, where one was foreseen; as `host_sampling.choose`."""
        [sequence] = rows
        chooser, masks = sequence.chooser, [sequence.mask]
        foreseen = self._foreseen[0]
        if foreseen.probabilities is None:
            return host_sampling.choose(logits, options, [chooser], masks)
        wanted = host_sampling.probabilities(logits, options, [chooser], masks)[0]
        token = judged(wanted, _fitted(foreseen.probabilities, wanted), foreseen.token, chooser.draw(), chooser.draw())
        return np.array([token])

    def feed(self, batch: Batch, sequence: Sequence, token: int) -> mx.array:
        """The logits (1, any) of what follows a token that was chosen."""
        if self._foreseen:
            stands = self._foreseen[0].token == token
            self._policy.was_judged(stands=stands)
            if stands:
                self._foreseen.popleft()
                self._place += 1
                return self._row()
        self.settle(batch)
        tokens = (*sequence.held, token)
        most = self._most(batch, sequence)
        if most < 1 or not self._is_ready(sequence, tokens):
            return batch.forward(mx.array([token]))
        depth = 0 if self._policy.is_plain_due else self._policy.depth(most)
        return self._ahead(batch, sequence, tokens, depth) if depth else self._plain(batch, token)

    def settle(self, batch: Batch) -> None:
        """Take back what the batch's caches hold beyond the tokens that were chosen."""
        batch.take_back(len(self._foreseen))
        self.forget()

    def forget(self) -> None:
        """The batch was emptied: there is nothing to take back."""
        self._foreseen.clear()
        self._logits = None

    def _most(self, batch: Batch, sequence: Sequence) -> int:
        """Tokens that can be foreseen after the next one: the answer has room for them, and all caches give them back.
        A pass over n of them makes one token more."""
        return min(sequence.remaining - 2, batch.room - 1, self._draft.room)

    def _is_ready(self, sequence: Sequence, tokens: tuple[int, ...]) -> bool:
        """Whether the draft has read what the sequence holds; else it reads on, as long as a pass takes."""
        if not self._draft.knows(tokens):
            return False
        missing = self._draft.align(sequence.prompt.tenant, tokens)
        if missing <= _CAUGHT_UP_TOKENS:
            return True
        count = min(missing - 1, self._policy.read_tokens)
        began = self._clock()
        self._draft.read(tokens, count)
        self._policy.was_read(count, self._clock() - began)
        return False

    def _plain(self, batch: Batch, token: int) -> mx.array:
        began = self._clock()
        logits = batch.forward(mx.array([token]))
        mx.eval(logits)
        self._policy.was_plain(self._clock() - began)
        return logits

    def _ahead(self, batch: Batch, sequence: Sequence, tokens: tuple[int, ...], depth: int) -> mx.array:
        began = self._clock()
        options = Options.of([sequence.prompt.sampling])
        self._foreseen.extend(self._draft.foresee(tokens, depth, sequence.chooser, options))
        drafted = self._clock()
        self._logits = batch.forward_all(mx.array([tokens[-1], *(each.token for each in self._foreseen)]))
        mx.eval(self._logits)
        self._policy.was_ahead(depth, drafted - began, self._clock() - drafted)
        self._place = 0
        return self._row()

    def _row(self) -> mx.array:
        assert self._logits is not None, "nothing was foreseen"
        return self._logits[self._place : self._place + 1]


def _fitted(probabilities: Floats, wanted: Floats) -> Floats:
    """As many as the model has: of ids that no text is made of, a draft may have fewer."""
    return np.pad(probabilities, (0, wanted.size - probabilities.size))
