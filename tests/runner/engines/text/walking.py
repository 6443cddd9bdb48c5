"""Answers drawn at random from what a constraint allows: as hard on it as a model without sense at temperature 1."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import jsonschema
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.utils import load_tokenizer
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from paddock.demo import __file__ as demo_file
from paddock.runner.engines.text.grammar.constraint import CallsConstraint, Constraint, Constraints
from paddock.runner.engines.text.grammar.lexicon import tokens_of
from paddock.runner.watch import Watch

DEMO = Path(demo_file).parent / "model"
CHECKED_FORMATS = jsonschema.FormatChecker(("date", "email", "ipv4", "ipv6", "uuid"))


def demo_tokenizer() -> TokenizerWrapper:
    return load_tokenizer(DEMO)


def demo_size() -> int:
    return len(demo_tokenizer().get_vocab())


def demo_constraints(vocabulary: int = 0) -> Constraints:
    """For logits as many as the tokenizer has tokens, or for another number of them."""
    tokenizer = demo_tokenizer()
    return Constraints(tokenizer, vocabulary or demo_size(), frozenset(tokenizer.eos_token_ids), Watch())


def wrapped(tokenizer: Tokenizer, end: str) -> TokenizerWrapper:
    return TokenizerWrapper(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end))


@dataclass(frozen=True)
class Walk:
    """One answer."""

    tokens: list[int]
    ended: bool
    """Whether it came to an end within its budget."""

    def text(self, tokenizer: TokenizerWrapper) -> str:
        return tokenizer.decode(self.tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def allowed(constraint: Constraint | CallsConstraint, remaining: int) -> list[int]:
    """The tokens that may come next."""
    token = constraint.prescribed(remaining)
    return tokens_of(constraint.allowed()) if token is None else [token]


def walk(constraint: Constraint, ends: set[int], source: random.Random, budget: int) -> Walk:
    """Any of the allowed tokens, each as likely as the others, until the end or until the budget is used up."""
    tokens: list[int] = []
    for remaining in range(budget, 0, -1):
        token = source.choice(allowed(constraint, remaining))
        if token in ends:
            return Walk(tokens, ended=True)
        tokens.append(token)
        constraint.accept(token)
        if constraint.is_finished:
            return Walk(tokens, ended=True)
    return Walk(tokens, ended=False)


def check(schema: object, value: object) -> None:
    """Raise if the value is not one of the schema, formats included."""
    jsonschema.Draft202012Validator(schema, format_checker=CHECKED_FORMATS).validate(value)
