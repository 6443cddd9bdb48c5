"""The tokenizer, and conversations as rows of token ids."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from conversations import conversation_tools, next_tool_turn, next_turn, story_turn, system_message
from exercises import exercise_turn
from tool_turns import ALL_NAMES
from turns import (
    END,
    END_OF_TEXT,
    END_THINK,
    END_TOOL_CALL,
    END_TOOLS,
    START,
    THINK,
    TOOL_CALL,
    TOOLS,
    Mode,
    Piece,
    pieces_of,
    system_text,
)

SPECIAL_TOKENS = (END_OF_TEXT, START, END)
# Tokens of their own, but text all the same: whoever decodes an answer wants to see them.
MARKS = (THINK, END_THINK, TOOL_CALL, END_TOOL_CALL, TOOLS, END_TOOLS)
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
IGNORED = -100
Talk = Callable[[random.Random], Iterator[Piece]]
Row = tuple[list[int], list[int], list[float]]
Batch = tuple[Sequence[list[int]], Sequence[list[int]], Sequence[list[float]]]
_MODES = (Mode.BARE, Mode.AT_ONCE, Mode.THINKING)
# Words take the blank before them along unless they begin with a capital: a name is the same tokens after a blank and
# after a quotation mark, and so it can be copied from a question into JSON. Digits and newlines stand alone.
_WORDS = Regex(
    r"'(?:[sdmt]|ll|ve|re)|\n|\p{N}|\p{Lu}\p{L}*| ?(?!\p{Lu})\p{L}+| ?[^\s\p{L}\p{N}]+|[^\S\n]+(?!\S)|[^\S\n]+"
)


def train_tokenizer(vocab_size: int, conversations: int = 5_000, seed: int = 11) -> Tokenizer:
    """A byte-level BPE of `vocab_size` tokens, trained on generated conversations: any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_WORDS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokens = [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*tokens, *(AddedToken(mark, special=False, normalized=False) for mark in MARKS)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    rng = random.Random(seed)
    tokenizer.train_from_iterator(("".join(_texts(rng)) for _ in range(conversations)), trainer)
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    return tokenizer


def _texts(rng: random.Random, turns: int = 3) -> Iterator[str]:
    """A conversation without its marks, for the tokenizer to learn from."""
    pieces = conversation(rng)
    marks = (*SPECIAL_TOKENS, *MARKS)
    for piece, _ in zip(pieces, range(6 * turns), strict=False):
        text = piece.text
        for mark in marks:
            text = text.replace(mark, "\n")
        yield text


@dataclass(frozen=True)
class Mix:
    """What conversations are about: how many of them have tools, and how many of the others are exercises alone.

    `names` is how many of the names of each kind of tool occur, `introductions` how many of the questions about Paddock
    and the model ask who it is, or greet it, where it was given no name.
    """

    tools: float = 0.35
    exercises: float = 0.0
    names: int = ALL_NAMES
    introductions: float = 0.0


def conversation(rng: random.Random, mix: Mix = Mix()) -> Iterator[Piece]:
    """The pieces of a conversation that never ends."""
    system, own_name = system_message(rng)
    tools = conversation_tools(rng, mix.tools, mix.names)
    yield Piece(system_text(system, [tool.schema for tool in tools]))
    if mix.exercises and not tools and rng.random() < mix.exercises:
        yield from exercise_conversation(rng)
    modes = iter(lambda: rng.choice(_MODES), None)
    while True:
        if tools:
            turn = next_tool_turn(rng, tools, own_name, mix.introductions)
        else:
            turn = next_turn(rng, own_name, mix.introductions)
        yield from pieces_of(turn, modes)


def exercise_conversation(rng: random.Random) -> Iterator[Piece]:
    """Exercises without an end, each after a thought: what is worth a thought needs many examples."""
    while True:
        yield from pieces_of(exercise_turn(rng), iter((Mode.THINKING,)))


def story_conversation(rng: random.Random) -> Iterator[Piece]:
    """Stories and nothing else, without thoughts: what the loss of stories is measured on."""
    while True:
        yield from pieces_of(story_turn(rng), iter((Mode.AT_ONCE,)))


class RowMaker:
    """Fills rows of a fixed length with conversations, and marks which tokens count for the loss.

    One row is one conversation of as many turns as fit. So the model sees answers at every distance from the start,
    and learns that only the last question matters.
    """

    def __init__(self, tokenizer: Tokenizer, talk: Talk = conversation, emphasis: float = 1.0) -> None:
        """`emphasis` is the weight of every answer that is no story; stories are long, and weigh 1."""
        self._tokenizer, self._talk, self._emphasis = tokenizer, talk, emphasis

    def row(self, rng: random.Random, length: int) -> Row:
        """`length` inputs, their targets (the next token of an answer, or IGNORED) and the targets' weights."""
        ids: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        for piece in self._talk(rng):
            added = self._tokenizer.encode(piece.text).ids
            ids += added
            skipped = len(added) if not piece.counts else int(piece.opens)
            targets += [IGNORED] * skipped + added[skipped:]
            weights += [1.0 if piece.story else self._emphasis] * len(added)
            if len(ids) > length:
                break
        return ids[:length], targets[1 : length + 1], weights[1 : length + 1]

    def batch(self, seed: str, rows: int, length: int) -> Batch:
        """A batch that depends on nothing but the seed."""
        rng = random.Random(seed)
        inputs, targets, weights = zip(*(self.row(rng, length) for _ in range(rows)), strict=True)
        return inputs, targets, weights
