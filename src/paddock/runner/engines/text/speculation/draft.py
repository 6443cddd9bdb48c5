"""The draft model: it has read what a sequence holds, and foresees how that goes on. It judges nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from paddock.errors import UnsupportedModel
from paddock.runner.engines.base import Report
from paddock.runner.engines.text.model.loading import LoadedModel, load
from paddock.runner.engines.text.sampling import host as host_sampling
from paddock.runner.engines.text.sampling.options import Chooser, Floats, Options
from paddock.runner.engines.text.speculation.rules import drawn
from paddock.runner.engines.text.speculation.trimming import room, take_back


@dataclass(frozen=True)
class Foreseen:
    """A token that may come next."""

    token: int
    probabilities: Floats | None = None
    """What it was drawn from, (vocabulary,); None where it is right only if it is the one that would come anyway."""


class Draft:
    """A model with the caches of the sequence that it was asked about last."""

    def __init__(self, model: nn.Module, vocabulary: int) -> None:
        """`vocabulary`: ids of both models, the smaller number."""
        self._model = model
        self._vocabulary = vocabulary
        self._tenant = ""
        self._caches: list[Any] = make_prompt_cache(model)
        self._held: list[int] = []

    @property
    def room(self) -> int:
        """How many tokens it can foresee and take back."""
        return room(self._caches)

    def align(self, tenant: str, tokens: tuple[int, ...]) -> int:
        """Take back what it holds of another text than this one, and all of another tenant's; tokens not read yet."""
        common = min(_common(self._held, tokens), len(tokens) - 1) if tenant == self._tenant else 0
        if common < len(self._held):
            self._return_to(common)
        self._tenant = tenant
        return len(tokens) - len(self._held)

    def read(self, tokens: tuple[int, ...], count: int) -> None:
        """Read on in a text that it is aligned to, by so many tokens."""
        read = tokens[len(self._held) : len(self._held) + count]
        self._model(mx.array([read]), cache=self._caches)
        mx.eval([layer.state for layer in self._caches])
        self._held += read

    def knows(self, tokens: tuple[int, ...]) -> bool:
        """Whether it has all of these ids, those of a model's filling among them."""
        return max(tokens, default=0) < self._vocabulary

    def foresee(self, tokens: tuple[int, ...], depth: int, chooser: Chooser, options: Options) -> list[Foreseen]:
        """So many tokens after these, which it is aligned to, and of which only a few at the end are left to read."""
        fed = tokens[len(self._held) :]
        self._held += fed
        logits = self._after(mx.array([fed]))
        if options.is_greedy.all():
            foreseen = [Foreseen(token) for token in self._likeliest(logits, depth)]
        else:
            foreseen = self._drawn(logits, depth, chooser, options)
        self._held += [each.token for each in foreseen[:-1]]
        return foreseen

    def _likeliest(self, logits: mx.array, depth: int) -> list[int]:
        """The likeliest one after another, which MLX makes at one go."""
        tokens = [mx.argmax(logits, axis=-1)]
        while len(tokens) < depth:
            tokens.append(mx.argmax(self._after(tokens[-1][None]), axis=-1))
        found: Any = mx.concatenate(tokens).tolist()
        return list(found)

    def _drawn(self, logits: mx.array, depth: int, chooser: Chooser, options: Options) -> list[Foreseen]:
        """Drawn as the model's own will be: with the numbers that those will be drawn with, or with others."""
        foreseen: list[Foreseen] = []
        for ahead in range(depth):
            row = np.array(logits.astype(mx.float32), copy=False)
            weights, ids = host_sampling.candidates(row, options)
            draw = chooser.draw_ahead(ahead)
            token = int(ids[0, drawn(weights[0], draw)])
            foreseen.append(Foreseen(token, None if chooser.is_seeded else _spread(weights[0], ids[0], row.shape[1])))
            if len(foreseen) < depth:
                logits = self._after(mx.array([[token]]))
        return foreseen

    def _after(self, tokens: mx.array) -> mx.array:
        """Logits (1, vocabulary) of what follows these tokens (1, any), not computed yet."""
        return self._model(tokens, cache=self._caches)[:, -1, : self._vocabulary]

    def _return_to(self, length: int) -> None:
        back = len(self._held) - length
        # Only so many are sure to be there still: a full window has overwritten others.
        if length and self.room:
            take_back(self._caches, back)
            del self._held[length:]
        else:
            self._caches, self._held = make_prompt_cache(self._model), []


def _common(held: list[int], tokens: tuple[int, ...]) -> int:
    if tuple(held) == tokens[: len(held)]:
        return len(held)
    return next(place for place, pair in enumerate(zip(held, (*tokens, -1), strict=False)) if pair[0] != pair[1])


def _spread(weights: Floats, ids: Any, width: int) -> Floats:
    """Probabilities (width,) of candidates with these weights."""
    whole = np.zeros(width)
    whole[ids] = weights / weights.sum()
    return whole


def load_draft(folder: Path, main: LoadedModel, report: Report, *, keep_packed: bool) -> LoadedModel:
    """Read a draft model. As `load`; UnsupportedModel if its tokens are not those of the model that it is for."""
    draft = load(folder, report, keep_packed=keep_packed)
    if draft.tokenizer.get_vocab() != main.tokenizer.get_vocab():
        raise UnsupportedModel(
            "The draft model's tokenizer is not the model's own: create the model again with a DRAFT of its family."
        )
    return draft


def part_of(report: Report, first: float, last: float) -> Callable[[float], None]:
    """Tells the progress of one part of a whole."""
    return lambda share: report(first + share * (last - first))
