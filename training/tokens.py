"""The tokenizer, and conversations as rows of token ids."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from conversations import conversation_tools, next_tool_turn, next_turn, system_message
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
_MODES = (Mode.BARE, Mode.BARE, Mode.AT_ONCE, Mode.THINKING)
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


def conversation(rng: random.Random) -> Iterator[Piece]:
    """The pieces of a conversation that never ends."""
    system, own_name = system_message(rng)
    tools = conversation_tools(rng)
    yield Piece(system_text(system, [tool.schema for tool in tools]))
    while True:
        turn = next_tool_turn(rng, tools, own_name) if tools else next_turn(rng, own_name)
        yield from pieces_of(turn, rng.choice(_MODES))


class RowMaker:
    """Fills rows of a fixed length with conversations, and marks which tokens count for the loss.

    One row is one conversation of as many turns as fit. So the model sees answers at every distance from the start,
    and learns that only the last question matters.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def row(self, rng: random.Random, length: int) -> tuple[list[int], list[int]]:
        """`length` inputs and their targets (the next token of an answer, or IGNORED)."""
        ids: list[int] = []
        targets: list[int] = []
        for piece in conversation(rng):
            added = self._tokenizer.encode(piece.text).ids
            ids += added
            skipped = len(added) if not piece.counts else int(piece.opens)
            targets += [IGNORED] * skipped + added[skipped:]
            if len(ids) > length:
                break
        return ids[:length], targets[1 : length + 1]

    def batch(self, seed: str, rows: int, length: int) -> tuple[list[list[int]], list[list[int]]]:
        """A batch that depends on nothing but the seed."""
        rng = random.Random(seed)
        pairs = [self.row(rng, length) for _ in range(rows)]
        return [inputs for inputs, _ in pairs], [targets for _, targets in pairs]
