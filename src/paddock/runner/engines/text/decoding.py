"""Makes one token for each sequence of a batch at a time, and hands the next step to MLX before the tokens are told.

On an accelerator the choice of tokens is a part of the graph, so that MLX runs one step ahead of the host; a
constraint, which has to see each token before the next, makes it wait. On the CPU only greedy choices run ahead; all
others are made on the host, much faster than MLX would, and the next pass runs while the tokens become text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from paddock.runner.engines.text.batch import Batch
from paddock.runner.engines.text.group import Caches, Group
from paddock.runner.engines.text.sampling import device as device_sampling
from paddock.runner.engines.text.sampling import host as host_sampling
from paddock.runner.engines.text.sampling.device import DeviceLikelihoods
from paddock.runner.engines.text.sampling.options import Chooser, Floats, Ints, Likelihoods, Options
from paddock.runner.engines.text.sequence import Sequence
from paddock.runner.engines.text.speculation.speculator import Speculator

Chosen = mx.array | Ints
"""Tokens of all sequences, on the device or on the host."""
Judge = Callable[[Sequence, int], int | None]


@dataclass(frozen=True)
class Produced:
    """A token of a sequence, not told to it yet."""

    sequence: Sequence
    token: int
    likelihoods: Likelihoods | None = None
    caches: Caches | None = None
    """Of a sequence that has left the batch, since this was its last token."""


class Decoder:
    """The batch, and the logits or tokens that are under way for it."""

    def __init__(
        self,
        model: nn.Module,
        vocabulary: int,
        *,
        merges: bool,
        on_device: bool,
        keeps: bool = True,
        speculator: Speculator | None = None,
        judge: Judge = Sequence.judged,
    ) -> None:
        """Only ids below `vocabulary` are ever chosen. `keeps`: whether the caches of sequences that leave are wanted.
        `speculator`: foresees tokens of a sequence that is alone. `judge`: has a sequence judge a token."""
        self._batch = Batch(model, merges=merges)
        self._vocabulary = vocabulary
        self._on_device = on_device
        self._keeps = keeps
        self._speculator = speculator
        self._judge = judge
        self._rows: list[Sequence] = []
        self._logits: mx.array | None = None
        self._chosen: Chosen | None = None
        self._options: Options | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def sequences(self) -> list[Sequence]:
        """All in the batch."""
        return list(self._rows)

    def join(self, sequences: list[Sequence], group: Group, logits: mx.array) -> None:
        """Take sequences in, with the logits (sequences, vocabulary) of their first tokens. Their caches are the
        batch's now."""
        self._settle()
        logits = self._known(logits)
        if self._chosen is not None:
            chosen = mx.array(self._choose(logits, sequences))
            self._chosen = mx.concatenate([mx.array(self._chosen), chosen])
        self._batch.join(group)
        self._logits = logits if self._logits is None else mx.concatenate([self._logits, logits])
        self._rows += sequences
        self._options = None
        for sequence in sequences:
            sequence.caches = []

    def remove(self, sequence: Sequence) -> Caches:
        """Take a sequence out; its caches, to be read only, if anybody wants them."""
        self._settle()
        row = next(row for row, each in enumerate(self._rows) if each is sequence)
        caches = self._taken(row)
        self._leave([row])
        return caches

    def clear(self) -> None:
        """Drop everything, as after an error in the middle of a step."""
        if self._speculator is not None:
            self._speculator.forget()
        self._batch.leave(range(len(self._batch)))
        self._rows, self._logits, self._chosen, self._options = [], None, None, None

    def wait(self) -> None:
        """Until what was handed to MLX is computed."""
        if self._logits is not None:
            mx.eval(self._logits)

    def step(self) -> list[Produced]:
        """The next token of each sequence. What comes after those that go on is under way when this returns."""
        assert self._logits is not None, "there is nothing to decode"
        logits = self._logits
        chosen = self._choose(logits, self._rows) if self._chosen is None else self._chosen
        likelihoods = self._measured(logits, chosen)
        self._chosen = None
        is_foreseen = self._speculator is not None and self._speculator.wants(self._batch, self._rows)
        if not is_foreseen and all(map(self._runs_ahead, self._rows)):
            return self._step_ahead(chosen, likelihoods)
        return self._advance(_numbers(chosen), likelihoods, is_foreseen=is_foreseen)

    def _step_ahead(self, chosen: Chosen, likelihoods: list[Likelihoods | None]) -> list[Produced]:
        rows = list(self._rows)
        tokens = mx.array(chosen)
        caches = self._leave_where([not sequence.goes_on_after(None) for sequence in rows])
        if self._rows:
            going = [row for row in range(len(rows)) if row not in caches]
            # What is no token stands for a sequence that ends here, and must not be looked up.
            fed = mx.maximum(tokens[mx.array(going)] if caches else tokens, 0)
            self._chosen = self._choose(self._feed(fed), self._rows, fed)
            mx.async_eval(self._chosen)
        numbers = _numbers(chosen)
        for row, (sequence, token) in enumerate(zip(rows, numbers, strict=True)):
            if row not in caches and not _goes_on(sequence, token):
                caches[row] = self.remove(sequence)
        return _produced(rows, numbers, likelihoods, caches)

    def _advance(
        self, tokens: list[int], likelihoods: list[Likelihoods | None], *, is_foreseen: bool
    ) -> list[Produced]:
        """Feed the tokens of the sequences that go on; the others leave."""
        rows = list(self._rows)
        caches = self._leave_where([not _goes_on(*pair) for pair in zip(rows, tokens, strict=True)])
        if self._rows:
            fed = [token for row, token in enumerate(tokens) if row not in caches]
            mx.async_eval(self._feed_foreseen(*fed) if is_foreseen else self._feed(mx.array(fed, dtype=mx.int32)))
        return _produced(rows, tokens, likelihoods, caches)

    def _feed(self, tokens: mx.array) -> mx.array:
        """Hand MLX the next step; its logits."""
        self._logits = self._known(self._batch.forward(tokens))
        for sequence in self._rows:
            sequence.was_fed()
        return self._logits

    def _feed_foreseen(self, token: int) -> mx.array:
        """As `_feed` for the only sequence, of which more may be read already."""
        assert self._speculator is not None, "nothing foresees"
        [sequence] = self._rows
        self._logits = self._known(self._speculator.feed(self._batch, sequence, token))
        sequence.was_fed()
        return self._logits

    def _settle(self) -> None:
        """Have caches hold what was chosen, and nothing that is only foreseen."""
        if self._speculator is not None:
            self._speculator.settle(self._batch)

    def _runs_ahead(self, sequence: Sequence) -> bool:
        """Whether the model may be given the next token of this sequence before the host has seen it."""
        return not sequence.is_constrained if self._on_device else sequence.chooser.is_simple

    def _choose(self, logits: mx.array, rows: list[Sequence], newest: mx.array | None = None) -> Chosen:
        """Choose as if constraints allowed everything, and once more, among what they allow, where one refuses."""
        options = self._options_of(rows)
        if self._speculator is not None and self._speculator.is_ahead:
            chosen: Chosen = self._speculator.choose(_on_host(logits), options, rows)
        else:
            chosen = self._drawn(logits, options, rows, newest)
        if not any(sequence.is_constrained for sequence in rows):
            return chosen
        judged = [self._judge(sequence, token) for sequence, token in zip(rows, _numbers(chosen), strict=True)]
        refused = np.array([row for row, token in enumerate(judged) if token is None])
        tokens = np.array([host_sampling.NOTHING if token is None else token for token in judged])
        if refused.size:
            theirs = logits[mx.array(refused)] if self._on_device else _on_host(logits)[refused]
            those = [rows[row] for row in refused]
            tokens[refused] = np.array(self._drawn(theirs, options[refused], those, draw=Chooser.draw_again))
        return tokens

    def _drawn(
        self,
        logits: mx.array | Floats,
        options: Options,
        rows: list[Sequence],
        newest: mx.array | None = None,
        draw: Callable[[Chooser], float] = Chooser.draw,
    ) -> Chosen:
        choosers = [sequence.chooser for sequence in rows]
        masks = [sequence.mask for sequence in rows]
        if isinstance(logits, mx.array) and (self._on_device or all(chooser.is_simple for chooser in choosers)):
            return device_sampling.choose(logits, options, choosers, masks, newest, draw)
        return host_sampling.choose(_on_host(logits), options, choosers, masks, draw)

    def _known(self, logits: mx.array) -> mx.array:
        """Some models have logits for more ids than their tokenizer or their embedding has."""
        return logits if logits.shape[-1] <= self._vocabulary else logits[:, : self._vocabulary]

    def _options_of(self, rows: list[Sequence]) -> Options:
        if rows is not self._rows:
            return Options.of([sequence.prompt.sampling for sequence in rows])
        if self._options is None:
            self._options = Options.of([sequence.prompt.sampling for sequence in rows])
        return self._options

    def _measured(self, logits: mx.array, chosen: Chosen) -> list[Likelihoods | None]:
        """For those who asked; reading them waits for MLX."""
        asked = [sequence.prompt.sampling for sequence in self._rows]
        if not any(each.logprobs for each in asked):
            return [None] * len(asked)
        if self._on_device:
            measure = DeviceLikelihoods.of(logits, mx.array(chosen)).read
        else:
            measure = partial(host_sampling.likelihoods, _on_host(logits), _numbers(chosen))
        return [measure(row, each.top_logprobs) if each.logprobs else None for row, each in enumerate(asked)]

    def _leave_where(self, leaves: list[bool]) -> dict[int, Caches]:
        """Take rows out of the batch; the caches of each, by its row."""
        rows = [row for row, leaving in enumerate(leaves) if leaving]
        if rows:
            self._settle()
        caches = {row: self._taken(row) for row in rows}
        self._leave(rows)
        return caches

    def _taken(self, row: int) -> Caches:
        """The caches of a row that is about to leave.

        They are computed at once: as mere graphs they would hold on to the caches of the whole batch, which would then
        be there twice while the next pass makes the smaller ones.
        """
        if not self._keeps:
            return []
        caches = self._batch.caches_of(row)
        mx.eval([layer.state for layer in caches])
        return caches

    def _leave(self, rows: list[int]) -> None:
        if not rows:
            return
        stay = [row for row in range(len(self._rows)) if row not in rows]
        self._batch.leave(rows)
        self._rows = [self._rows[row] for row in stay]
        self._options = None
        if not stay:
            self._logits = self._chosen = None
            return
        kept = mx.array(stay)
        self._logits = self._logits[kept] if self._logits is not None else None
        self._chosen = mx.array(self._chosen)[kept] if self._chosen is not None else None


def _on_host(logits: mx.array | Floats) -> Floats:
    """The same memory in single precision, without a copy where it is that already."""
    return np.array(logits.astype(mx.float32), copy=False) if isinstance(logits, mx.array) else logits


def _numbers(chosen: Chosen) -> list[int]:
    numbers: Any = chosen.tolist()
    return list(numbers)


def _goes_on(sequence: Sequence, token: int) -> bool:
    return token != host_sampling.NOTHING and sequence.goes_on_after(token)


def _produced(
    rows: list[Sequence], tokens: list[int], likelihoods: list[Likelihoods | None], caches: dict[int, Caches]
) -> list[Produced]:
    return [Produced(*each, caches.get(row)) for row, each in enumerate(zip(rows, tokens, likelihoods, strict=True))]
