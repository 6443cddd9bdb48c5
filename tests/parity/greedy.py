"""The text engine's greedy answers, alone and in company, read anew and from what is kept, judged by transformers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from paddock.protocol import CompletionRequest, Done, Failed, Frame, Sampling
from paddock.runner.engines.base import EngineOptions
from paddock.runner.engines.text.engine import TextEngine
from tests.parity.architectures import Architecture
from tests.parity.checkpoints import make_checkpoint

NEW_TOKENS = 64
PARALLEL = 8
LOGIT_TOLERANCE = 2e-3
TIE = 1e-4
"""Two logits nearer to each other than this are equal: summing up in another order moves them as far."""

PROMPT = tuple((37 * index + 11) % 250 for index in range(90))
SHARED = 60
"""So many tokens of it begin another prompt as well."""

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """What the engine said to a prompt, and how it came to it."""

    prompt: Tokens
    tokens: Tokens
    cached_tokens: int
    most_at_once: int
    """Answers that got a token in one step."""


@dataclass(frozen=True)
class Verdict:
    """On one answer, from the reference's logits for prompt and answer, read all at once without any cache."""

    equal: int
    """So many of its first tokens are the reference's choice after those before: its greedy text has the same ones."""
    ties: int
    """So many of these are the second of two equal logits."""
    nearest: float
    """The least difference between the two largest logits at any of its places."""
    logit_difference: float
    """The largest difference of our logits, at any place of prompt and answer."""


@dataclass(frozen=True)
class Subject:
    """One architecture: the reference, and the engine that runs the checkpoint of it."""

    reference: Any
    engine: TextEngine

    @classmethod
    def make(cls, folder: Path, architecture: Architecture) -> Subject:
        """A random checkpoint of it in a folder."""
        torch.set_num_threads(1)
        reference = make_checkpoint(folder, architecture)
        engine = TextEngine(
            EngineOptions(folder, num_ctx=512, parallel=PARALLEL, num_batch=32, prefix_cache_bytes=64 * 2**20)
        )
        engine.load(lambda _progress: None)
        return cls(reference, engine)

    @property
    def decodes_together(self) -> bool:
        """Whether the sequences of a batch share a forward pass."""
        return self.engine._decoding._batch._merges

    def judge(self, answer: Answer) -> Verdict:
        """Compare an answer with what the reference would have said."""
        tokens = (*answer.prompt, *answer.tokens)
        with torch.no_grad():
            expected = self.reference(torch.tensor([tokens]), use_cache=False).logits[0].numpy()
        ours = np.array(self.engine._model.model(mx.array([tokens]))[0].astype(mx.float32))
        places = expected[len(answer.prompt) - 1 : -1]
        second, first = np.sort(places, axis=1)[:, -2:].T
        gaps = first - places[np.arange(len(places)), answer.tokens]
        different = np.flatnonzero(gaps > TIE)
        equal = int(different[0]) if len(different) else len(gaps)
        return Verdict(
            equal=equal,
            ties=int((gaps[:equal] > 0).sum()),
            nearest=float((first - second).min()),
            logit_difference=float(np.abs(ours - expected).max()),
        )


def greedy(prompt: Tokens, tenant: str) -> CompletionRequest:
    """What is kept of a tenant's prompts is used for that tenant only."""
    sampling = Sampling(temperature=0.0, num_predict=NEW_TOKENS)
    return CompletionRequest(prompt="", context=prompt, sampling=sampling, return_context=True, tenant=tenant)


def alone(engine: TextEngine, prompt: Tokens, tenant: str) -> Answer:
    """The answer to a prompt while nobody else asks for anything."""
    assert not engine.has_work
    return Company(engine, iter(())).answer(greedy(prompt, tenant))


def in_company(engine: TextEngine, prompt: Tokens, tenant: str) -> Answer:
    """The answer to a prompt in a full batch that others join and leave, and of which some go away in the middle."""
    assert not engine.has_work
    company = Company(engine, strangers())
    company.gather()
    return company.answer(greedy(prompt, tenant))


def strangers() -> Iterator[CompletionRequest]:
    """Requests of all lengths and ways to choose tokens, always the same ones."""
    source = random.Random(3)
    while True:
        sampling = Sampling(
            temperature=source.choice([0.0, 0.8, 1.5]),
            top_k=source.choice([0, 40]),
            repeat_penalty=source.choice([1.0, 1.2]),
            seed=source.randrange(1000),
            num_predict=source.randint(3, 40),
            logprobs=source.random() < 0.2,
        )
        prompt = tuple(source.choices(range(250), k=source.choice([1, 5, 20, 50, 100])))
        yield CompletionRequest(prompt="", context=prompt, sampling=sampling, tenant="strangers")


class Company:
    """Keeps an engine full of strangers' requests while one of ours is answered."""

    def __init__(self, engine: TextEngine, requests: Iterator[CompletionRequest]) -> None:
        self._engine = engine
        self._requests = requests
        self._ids = itertools.count()
        self._present: list[int] = []

    def gather(self) -> None:
        """Have some strangers come, and get their first tokens."""
        self._fill(PARALLEL - 2)
        for _ in range(8):
            self._step()

    def answer(self, request: CompletionRequest) -> Answer:
        """Ask, and see to it that the engine is full until the answer is there; then all others are sent away."""
        ours = self._submit(request)
        most_at_once = 0
        for step in itertools.count():
            self._fill(PARALLEL)
            if step % 16 == 8 and len(self._present) == PARALLEL:
                self._leave(next(other for other in self._present if other != ours))
            before = self._engine.tokens_generated
            told = self._step()
            most_at_once = max(most_at_once, self._engine.tokens_generated - before)
            for frame in told.get(ours, []):
                assert not isinstance(frame, Failed), frame
                if isinstance(frame, Done):
                    self._disperse()
                    tokens = (frame.context or ())[frame.prompt_eval_count :]
                    return Answer(request.context, tokens, frame.cached_tokens, most_at_once)
        raise AssertionError("unreachable")

    def _fill(self, count: int) -> None:
        while len(self._present) < count and (request := next(self._requests, None)) is not None:
            self._submit(request)

    def _submit(self, request: CompletionRequest) -> int:
        number = next(self._ids)
        self._engine.submit(number, self._engine.prepare(request))
        self._present.append(number)
        return number

    def _leave(self, number: int) -> None:
        self._engine.cancel(number)
        self._present.remove(number)

    def _disperse(self) -> None:
        for number in list(self._present):
            self._leave(number)

    def _step(self) -> dict[int, list[Frame]]:
        told: dict[int, list[Frame]] = {}
        for number, frame in self._engine.step():
            told.setdefault(number, []).append(frame)
            if isinstance(frame, Done | Failed):
                self._present.remove(number)
        return told


@dataclass(frozen=True)
class Parity:
    """What came out for one architecture."""

    name: str
    decodes_together: bool
    answers: dict[str, Answer]
    """By the way in which they came about."""
    verdicts: dict[str, Verdict]

    @property
    def logit_difference(self) -> float:
        """The largest of all."""
        return max(verdict.logit_difference for verdict in self.verdicts.values())

    @property
    def nearest(self) -> float:
        """The least distance of two logits between which a token was chosen."""
        return min(verdict.nearest for verdict in self.verdicts.values())


def compare(name: str, subject: Subject) -> Parity:
    """Ask the same in every way, and judge the answers."""
    answers = ask_in_every_way(subject.engine)
    of_each = {(answer.prompt, answer.tokens): answer for answer in answers.values()}
    judged = {text: subject.judge(answer) for text, answer in of_each.items()}
    verdicts = {way: judged[answer.prompt, answer.tokens] for way, answer in answers.items()}
    return Parity(name, subject.decodes_together, answers, verdicts)


def ask_in_every_way(engine: TextEngine) -> dict[str, Answer]:
    """The answers to one prompt, by how it was asked; the last one is to the prompt with an answer behind it."""
    answers = {"alone": alone(engine, PROMPT, "one"), "in a batch": in_company(engine, PROMPT, "two")}
    for tenant in ("three", "four"):
        alone(engine, (*PROMPT[:SHARED], *reversed(PROMPT[SHARED:])), tenant)
        # Where prompts part is known now, and what cannot be cut is kept as it is there.
        alone(engine, PROMPT, tenant)
    answers["cached"] = alone(engine, PROMPT, "three")
    answers["cached in a batch"] = in_company(engine, PROMPT, "four")
    answers["continued"] = alone(engine, (*PROMPT, *answers["in a batch"].tokens), "two")
    return answers
