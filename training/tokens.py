"""The tokenizer and the chat format: from conversations to rows of token ids."""

from __future__ import annotations

import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from conversations import Turn, next_turn, system_message

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, START, END)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + (message['content'] | trim) + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
IGNORED = -100


def train_tokenizer(vocab_size: int, turns: int = 12_000, seed: int = 11) -> Tokenizer:
    """A byte-level BPE of `vocab_size` tokens, trained on generated turns: any text can be encoded."""
    rng = random.Random(seed)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made = (next_turn(rng, None) for _ in range(turns))
    tokenizer.train_from_iterator((f"{turn.question}\n{turn.answer}" for turn in made), trainer)
    return tokenizer


def prompt_text(question: str, system: str | None = None) -> str:
    """What the chat template makes of a first question; kept equal to it by a test."""
    head = f"{START}system\n{system}{END}\n" if system else ""
    return f"{head}{START}user\n{question}{END}\n{START}assistant\n"


class RowMaker:
    """Fills rows of a fixed length with conversations, and marks which tokens count for the loss.

    One row is one conversation of as many turns as fit. So the model sees answers at every distance from the start,
    and learns that only the last question matters.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def _turn_ids(self, turn: Turn) -> tuple[list[int], list[int]]:
        asked = self._tokenizer.encode(prompt_text(turn.question)).ids
        answered = self._tokenizer.encode(f"{turn.answer}{END}").ids
        newline = self._tokenizer.encode("\n").ids
        ids = asked + answered + newline
        return ids, [IGNORED] * len(asked) + answered + [IGNORED] * len(newline)

    def row(self, rng: random.Random, length: int) -> tuple[list[int], list[int]]:
        """`length` inputs and their targets (the next token of an answer, or IGNORED)."""
        system, own_name = system_message(rng)
        ids = self._tokenizer.encode(f"{START}system\n{system}{END}\n").ids if system else []
        targets = [IGNORED] * len(ids)
        while len(ids) <= length:
            turn_ids, turn_targets = self._turn_ids(next_turn(rng, own_name))
            ids, targets = ids + turn_ids, targets + turn_targets
        return ids[:length], targets[1 : length + 1]

    def batch(self, seed: str, rows: int, length: int) -> tuple[list[list[int]], list[list[int]]]:
        """A batch that depends on nothing but the seed."""
        rng = random.Random(seed)
        pairs = [self.row(rng, length) for _ in range(rows)]
        return [inputs for inputs, _ in pairs], [targets for _, targets in pairs]
