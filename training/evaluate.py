"""How good the model is: loss on unseen conversations, and stories checked against the grammar."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch.nn import functional

from conversations import Turn, story_prompt
from grammar import check_story
from model import Cache, DemoModel
from qa import TOPICS
from story_words import ADJECTIVES, ANIMALS, held_out
from tokens import END, IGNORED, RowMaker, prompt_text

MAX_NEW_TOKENS = 320
# What the server samples with unless it is told otherwise.
TEMPERATURE, TOP_K, TOP_P = 0.8, 40, 0.9


def loss_of(model: DemoModel, inputs: list[list[int]], targets: list[list[int]]) -> torch.Tensor:
    """Mean cross entropy over the tokens of answers."""
    logits = model(torch.tensor(inputs))
    return functional.cross_entropy(logits.flatten(0, 1).float(), torch.tensor(targets).flatten(), ignore_index=IGNORED)


@torch.inference_mode()
def validation_loss(model: DemoModel, rows: RowMaker, batches: int = 8, length: int = 512) -> float:
    """The loss on conversations that training never sees: they come from other seeds."""
    with torch.autocast("cpu", torch.bfloat16):
        losses = [loss_of(model, *rows.batch(f"validation {i}", 16, length)).item() for i in range(batches)]
    return sum(losses) / len(losses)


def _sample(logits: torch.Tensor, generator: torch.Generator | None) -> int:
    """The likeliest token, or with a generator one drawn the way the server draws by default."""
    if generator is None:
        return int(logits.argmax())
    values, tokens = logits.topk(TOP_K)
    likely = values.softmax(-1)
    kept = likely.cumsum(-1) - likely < TOP_P
    weights = (values / TEMPERATURE).softmax(-1) * kept
    return int(tokens[torch.multinomial(weights, 1, generator=generator)])


@torch.inference_mode()
def answer(model: DemoModel, tokenizer: Tokenizer, prompt: str, generator: torch.Generator | None = None) -> str:
    """What the model says after `prompt`, which is already in the chat format."""
    end, caches = tokenizer.token_to_id(END), [Cache() for _ in model.model.layers]
    tokens, position, said = tokenizer.encode(prompt).ids, 0, []
    while len(said) < MAX_NEW_TOKENS:
        logits = model(torch.tensor([tokens]), caches, position)[0, -1]
        position += len(tokens)
        tokens = [_sample(logits, generator)]
        if tokens[0] == end:
            break
        said += tokens
    return tokenizer.decode(said)


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
    stories = ((answer(model, tokenizer, prompt_text(r.question), generator), r) for r in requests)
    return sum(not check_story(text, r.subject or "", r.name) for text, r in stories) / len(requests)


def right_answers(model: DemoModel, tokenizer: Tokenizer, unseen: bool) -> float:
    """The share of questions answered to the letter: as they are put in training, or the phrasings held out."""
    asked = [(q, topic.answer) for topic in TOPICS for q in (topic.questions[-1:] if unseen else topic.trained[:4])]
    return sum(answer(model, tokenizer, prompt_text(q)) == expected for q, expected in asked) / len(asked)
