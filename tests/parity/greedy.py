"""The text engine's greedy answers, alone and in company, read anew and from what is kept, judged by transformers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
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
    """What the engine said, and how it came to it."""

    tokens: Tokens
    cached_tokens: int
    most_at_once: int
    """Answers that got a token in one step."""


@dataclass(frozen=True)
class Verdict:
    """On one answer."""

    equal: int
    """So many of its first tokens are the reference's, each after the ones before it."""
    ties: int
    """So many of these are the second of two equal logits."""


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

    def expected_logits(self, tokens: Tokens) -> np.ndarray:
        """The reference's, all at once and without any cache."""
        with torch.no_grad():
            return self.reference(torch.tensor([tokens]), use_cache=False).logits[0].numpy()

    def logits(self, tokens: Tokens) -> np.ndarray:
        """Those of the engine's model, all at once."""
        return np.array(self.engine._model.model(mx.array([tokens]))[0].astype(mx.float32))

    def judge(self, prompt: Tokens, answer: Answer) -> Verdict:
        """Whether each token is the reference's choice after those before it, which is to say the same greedy text."""
        logits = self.expected_logits((*prompt, *answer.tokens))[len(prompt) - 1 : -1]
        gaps = logits.max(axis=1) - np.take_along_axis(logits, np.array(answer.tokens)[:, None], axis=1)[:, 0]
        different = np.flatnonzero(gaps > TIE)
        equal = int(different[0]) if len(different) else len(gaps)
        return Verdict(equal, int((gaps[:equal] > 0).sum()))


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
                    return Answer(tokens, frame.cached_tokens, most_at_once)
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

    subject: Subject
    answers: dict[str, Answer]

    @classmethod
    def of(cls, subject: Subject) -> Parity:
        """Ask the same in four ways; then the answers are there."""
        engine = subject.engine
        another = (*PROMPT[:SHARED], *reversed(PROMPT[SHARED:]))
        answers = {"alone": alone(engine, PROMPT, "one"), "in a batch": in_company(engine, PROMPT, "two")}
        for tenant in ("three", "four"):
            alone(engine, another, tenant)
        answers["after a shared beginning"] = alone(engine, PROMPT, "three")
        answers["cached"] = alone(engine, PROMPT, "three")
        in_company(engine, PROMPT, "four")
        answers["cached in a batch"] = in_company(engine, PROMPT, "four")
        return cls(subject, answers)

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """On each answer."""
        of_each = {tokens: self.subject.judge(PROMPT, answer) for tokens, answer in self._distinct.items()}
        return {way: of_each[answer.tokens] for way, answer in self.answers.items()}

    @cached_property
    def logit_difference(self) -> float:
        """The largest over the prompt and each answer."""
        texts = [(*PROMPT, *tokens) for tokens in self._distinct]
        pairs = [(self.subject.logits(text), self.subject.expected_logits(text)) for text in texts]
        return max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)

    @property
    def _distinct(self) -> dict[Tokens, Answer]:
        return {answer.tokens: answer for answer in self.answers.values()}
