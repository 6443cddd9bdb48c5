"""How good the model is: loss on unseen conversations, and stories checked against the grammar."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch.nn import functional

from conversations import story_prompt
from grammar import check_story
from model import Cache, DemoModel
from qa import TOPICS
from story_words import ADJECTIVES, ANIMALS, held_out
from tokens import IGNORED, Batch, RowMaker
from turns import END, Turn, prompt_text

MAX_NEW_TOKENS = 320
# What the server samples with unless it is told otherwise.
TEMPERATURE, TOP_K, TOP_P = 0.8, 40, 0.9


def loss_of(model: DemoModel, batch: Batch) -> torch.Tensor:
    """Weighted mean of the cross entropy over the tokens of answers."""
    inputs, targets, weights = map(torch.tensor, batch)
    targets, weights = targets.flatten(), weights.flatten()
    logits = model(inputs).flatten(0, 1).float()
    losses = functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
    return (losses * weights).sum() / weights[targets != IGNORED].sum()


@torch.inference_mode()
def validation_loss(model: DemoModel, rows: RowMaker, batches: int = 8, length: int = 512) -> float:
    """The loss on conversations that training never sees: they come from other seeds."""
    with torch.autocast("cpu", torch.bfloat16):
        losses = [loss_of(model, rows.batch(f"validation {i}", 16, length)).item() for i in range(batches)]
    return sum(losses) / len(losses)


def _sampled(logits: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """The likeliest token of each row, or with a generator one drawn the way the server draws by default."""
    if generator is None:
        return logits.argmax(-1)
    values, tokens = logits.topk(TOP_K)
    likely = values.softmax(-1)
    kept = likely.cumsum(-1) - likely < TOP_P
    weights = (values / TEMPERATURE).softmax(-1) * kept
    return tokens.gather(1, torch.multinomial(weights, 1, generator=generator))[:, 0]


@torch.inference_mode()
def _continued(
    model: DemoModel, prompts: list[list[int]], end: int, generator: torch.Generator | None
) -> list[list[int]]:
    """What comes after each of some prompts of one length, up to the token `end`."""
    caches: list[Cache] = [[] for _ in model.model.layers]
    tokens, position = torch.tensor(prompts), 0
    said: list[list[int]] = [[] for _ in prompts]
    running = set(range(len(prompts)))
    for _ in range(MAX_NEW_TOKENS):
        logits = model(tokens, caches, position)[:, -1]
        position += tokens.shape[1]
        tokens = _sampled(logits, generator)[:, None]
        running -= {row for row in running if tokens[row, 0] == end}
        if not running:
            break
        for row in running:
            said[row].append(int(tokens[row, 0]))
    return said


def answers(
    model: DemoModel, tokenizer: Tokenizer, prompts: Sequence[str], generator: torch.Generator | None = None
) -> list[str]:
    """What the model says after each prompt, which is already in the chat format.

    Prompts of the same length are answered together: that is quick, and needs no padding.
    """
    encoded = [tokenizer.encode(prompt).ids for prompt in prompts]
    found = [""] * len(prompts)
    for length in sorted({len(ids) for ids in encoded}):
        rows = [row for row, ids in enumerate(encoded) if len(ids) == length]
        said = _continued(model, [encoded[row] for row in rows], tokenizer.token_to_id(END), generator)
        for row, ids in zip(rows, said, strict=True):
            found[row] = tokenizer.decode(ids, skip_special_tokens=False)
    return found


def story_requests(count: int, seed: str, unseen_pairs: bool) -> list[Turn]:
    """Questions for stories; `unseen_pairs` asks only for pairs of adjective and animal that were held out."""
    rng, requests = random.Random(seed), []
    while len(requests) < count:
        adjective, animal = rng.choice(ADJECTIVES), rng.choice(tuple(ANIMALS))
        if held_out(adjective, animal) is unseen_pairs:
            subject = f"{adjective} {animal}"
            requests.append(Turn(story_prompt(rng, subject)[0], "", subject))
    return requests


def well_formed_share(
    model: DemoModel, tokenizer: Tokenizer, requests: Sequence[Turn], generator: torch.Generator | None = None
) -> float:
    """The share of requests that are answered with a story that the grammar accepts, about the right subject."""
    stories = answers(model, tokenizer, [prompt_text(request.question) for request in requests], generator)
    checked = zip(stories, requests, strict=True)
    return sum(not check_story(text, r.subject or "", r.name) for text, r in checked) / len(requests)


def right_answers(model: DemoModel, tokenizer: Tokenizer, unseen: bool) -> float:
    """The share of questions answered to the letter: as they are put in training, or the phrasings held out."""
    asked = [(q, topic.answer) for topic in TOPICS for q in (topic.questions[-1:] if unseen else topic.trained[:4])]
    said = answers(model, tokenizer, [prompt_text(question) for question, _ in asked])
    return sum(text == expected for text, (_, expected) in zip(said, asked, strict=True)) / len(asked)
