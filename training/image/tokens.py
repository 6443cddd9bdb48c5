"""The tokenizer: a byte-level BPE that knows the words of the captions, and reads any text in small letters."""

from __future__ import annotations

import random

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.image.captions import caption, random_request

FILLER, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + (message['content'] | trim) + '<|im_end|>' }}{% endfor %}"
)
"""Nothing but the prompt: there is only ever one message, and no answer in words."""
_TOKENS = 560
_CAPTIONS = 8000


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Trained on generated captions."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_TOKENS,
        special_tokens=[FILLER, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    rng = random.Random("tokenizer")
    texts = [caption(random_request(rng), rng, wordy=place % 4 == 0) for place in range(_CAPTIONS)]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=FILLER,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        padding_side="right",
        model_max_length=512,
    )


def token_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Of a prompt, as the pipeline writes it."""
    return tokenizer.encode(f"{START}{text.strip()}{END}", add_special_tokens=False)
