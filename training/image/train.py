"""Trains the demo image model from nothing and exports it.

    python -m training.image.train --out src/paddock/demo/image --work /tmp/demo-image

It needs PyTorch, diffusers and transformers; the server does not. Everything that it learns from is drawn here, from
fixed seeds. What is done is kept in the folder `--work`, from which a later call goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen3Model

from training.image.autoencoder import as_tensor, psnr, train_autoencoder
from training.image.captions import Request, caption, random_request, scene_of
from training.image.draw import SIDE, draw
from training.image.export import export
from training.image.flow import assert_equal, make_rope, read_text, velocity
from training.image.model import (
    CELL,
    PATCH,
    new_autoencoder,
    new_scheduler,
    new_text_encoder,
    new_transformer,
)
from training.image.tokens import token_ids, train_tokenizer

HERE = Path(__file__).resolve().parent
# One thread: the matrices are so small that a second one gains little, and loses a lot when the machine is busy.
THREADS = 1
_POOL = 5_000
_TOKENS_SIDE = SIDE // CELL // PATCH
_SHORT, _LONG = 32, 64
"""Lengths of captions: the pipeline fills them up to a multiple of 32 tokens."""
_LONG_EVERY = 12
"""Every so many steps see long captions, with much in them that does not matter."""
_SHIFT = 2.0
"""Above 1, more of the noise levels are high ones, at which the shape is decided."""
_PLAIN_SHARE = 0.75
"""So much of a batch asks for one shape alone, which has most to teach: what words go with which shape."""
_EMPTY_SHARE = 0.06
"""So many captions are left out, which teaches what guidance departs from."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: up in a line, level, and down to nothing in a line."""

    steps: int = 2250
    batch: int = 32
    warmup: int = 60
    falling_share: float = 0.45
    matrix_rate: float = 0.02
    other_rate: float = 2e-3

    def factor(self, step: int) -> float:
        """The learning rate over its peak."""
        return min(1.0, (step + 1) / self.warmup, (self.steps - step) / (self.falling_share * self.steps))


@dataclass(frozen=True)
class Pool:
    """What training sees: requests, and the latents of their pictures."""

    requests: list[Request]
    latents: Tensor

    @cached_property
    def plain(self) -> list[int]:
        """Places of those that ask for one shape and neither for a size nor for a place."""
        return [place for place, request in enumerate(self.requests) if request.is_plain]


class Denoiser(nn.Module):
    """What learns together: how a text is read, and what is drawn from it."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.text_encoder: Qwen3Model = new_text_encoder(vocabulary)
        self.transformer: ZImageTransformer2DModel = new_transformer()
        nn.init.zeros_(self.transformer.all_final_layer[f"{PATCH}-1"].linear.weight)
        self.ropes = {
            length: make_rope(self.transformer, _TOKENS_SIDE, _TOKENS_SIDE, length) for length in (_SHORT, _LONG)
        }

    def forward(self, latents: Tensor, times: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Velocity from noise to picture."""
        features = read_text(self.text_encoder, tokens)
        return velocity(self.transformer, latents, times, features, lengths, self.ropes[tokens.shape[1]])


def _pool_requests(rng: random.Random) -> list[Request]:
    return [random_request(rng) for _ in range(_POOL)]


@torch.no_grad()
def make_pool(autoencoder: AutoencoderKL) -> Pool:
    """Encode pictures once, for all steps."""
    rng = random.Random("pool")
    requests = _pool_requests(rng)
    latents = []
    for start in range(0, _POOL, 50):
        pictures = [draw(scene_of(request, rng)) for request in requests[start : start + 50]]
        latents.append(autoencoder.encode(as_tensor(np.stack(pictures))).latent_dist.mean)
    return Pool(requests, torch.cat(latents))


def padded(rows: list[list[int]], length: int) -> tuple[Tensor, Tensor]:
    """Token ids filled up to a common length, and how many of each row count."""
    tokens = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    return tokens, torch.tensor([len(row) for row in rows])


def _captions(
    tokenizer: PreTrainedTokenizerFast, requests: list[Request], rng: random.Random, *, long: bool
) -> tuple[Tensor, Tensor]:
    most, rows = _LONG if long else _SHORT, []
    for request in requests:
        row = token_ids(tokenizer, "")
        if rng.random() >= _EMPTY_SHARE:
            row = token_ids(tokenizer, caption(request, rng, wordy=long))
            while len(row) > most or (long and len(row) <= _SHORT):
                row = token_ids(tokenizer, caption(request, rng, wordy=long))
        rows.append(row)
    return padded(rows, most)


def _loss(model: Denoiser, latents: Tensor, tokens: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
    """Of the velocity, at noise levels spread over the batch (https://arxiv.org/abs/2210.02747)."""
    batch = len(latents)
    even = (torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)) / batch
    sigmas = _SHIFT * even / (1.0 + (_SHIFT - 1.0) * even)
    noise = torch.randn(latents.shape, generator=generator)
    mixed = torch.lerp(latents, noise, sigmas[:, None, None, None])
    return (model(mixed, 1.0 - sigmas, tokens, lengths) - (latents - noise)).square().mean()


def _optimizers(model: Denoiser, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for all else."""
    text, drawing = model.text_encoder, model.transformer
    layers = nn.ModuleList([*text.layers[:-1], *drawing.layers, *drawing.noise_refiner, *drawing.context_refiner])
    matrices = [parameter for parameter in layers.parameters() if parameter.dim() == 2]
    # Nothing is learned in the text encoder's last layer, which the pipeline leaves out.
    learned = [*text.embed_tokens.parameters(), *text.layers[:-1].parameters(), *drawing.parameters()]
    others = [parameter for parameter in learned if not any(parameter is matrix for matrix in matrices)]
    return [
        torch.optim.Muon(matrices, lr=schedule.matrix_rate, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=schedule.other_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


class Training:
    """The steps, and where they stand."""

    def __init__(
        self, model: Denoiser, tokenizer: PreTrainedTokenizerFast, schedule: Schedule, checkpoint: Path
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._schedule = schedule
        self._checkpoint = checkpoint
        self._tuned = _optimizers(model, schedule)
        self._peaks = (schedule.matrix_rate, schedule.other_rate)
        self._step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        if checkpoint.exists():
            self._load()

    def run(self, pool: Pool) -> None:
        """The steps that are left."""
        recent: list[float] = []
        began = time.monotonic() - self.seconds
        while self._step < self._schedule.steps:
            recent.append(self._advance(pool))
            self._step += 1
            self.seconds = time.monotonic() - began
            if self._step % 50 == 0 or self._step == self._schedule.steps:
                loss = sum(recent) / len(recent)
                recent = []
                self.history.append({"step": self._step, "loss": round(loss, 4)})
                print(f"step {self._step} of {self._schedule.steps}, {self.seconds:.0f} s: loss {loss:.4f}", flush=True)
                self._save()

    def _advance(self, pool: Pool) -> float:
        rng = random.Random(f"step {self._step}")
        generator = torch.Generator().manual_seed(self._step)
        plain = round(_PLAIN_SHARE * self._schedule.batch)
        chosen = rng.sample(pool.plain, plain)
        chosen += rng.sample(range(len(pool.requests)), self._schedule.batch - plain)
        is_long = self._step % _LONG_EVERY == 0
        tokens, lengths = _captions(self._tokenizer, [pool.requests[place] for place in chosen], rng, long=is_long)
        loss = _loss(self._model, pool.latents[chosen], tokens, lengths, generator)
        loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        for optimizer, peak in zip(self._tuned, self._peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * self._schedule.factor(self._step)
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()

    def _save(self) -> None:
        state = {
            "model": self._model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._tuned],
            "step": self._step,
            "seconds": self.seconds,
            "history": self.history,
        }
        new = self._checkpoint.with_suffix(".new")
        torch.save(state, new)
        new.replace(self._checkpoint)

    def _load(self) -> None:
        state = torch.load(self._checkpoint)
        self._model.load_state_dict(state["model"])
        for optimizer, kept in zip(self._tuned, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self._step, self.seconds, self.history = state["step"], state["seconds"], state["history"]


def ready_autoencoder(work: Path) -> tuple[AutoencoderKL, float]:
    """The trained autoencoder and the seconds that it took, from the folder of what is done if it is there."""
    model, kept = new_autoencoder(), work / "autoencoder.pt"
    if kept.exists():
        state = torch.load(kept)
        model.load_state_dict(state["model"])
        return model.eval(), state["seconds"]
    began = time.monotonic()
    train_autoencoder(model)
    seconds = time.monotonic() - began
    torch.save({"model": model.state_dict(), "seconds": seconds}, kept)
    return model.eval(), seconds


def ready_pool(autoencoder: AutoencoderKL, work: Path) -> Pool:
    """What training sees, its latents from the folder of what is done if they are there."""
    kept = work / "latents.pt"
    if kept.exists():
        return Pool(_pool_requests(random.Random("pool")), torch.load(kept))
    pool = make_pool(autoencoder)
    torch.save(pool.latents, kept)
    return pool


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is done so far")
    parser.add_argument("--report", type=Path, default=HERE / "report.json", help="file for the figures")
    parser.add_argument("--steps", type=int, default=Schedule.steps, help="fewer steps for a quick try")
    return parser.parse_args()


def main() -> None:
    """Train, measure the autoencoder, export and report; `evaluate.py` measures the whole."""
    arguments = _arguments()
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    arguments.work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    autoencoder, seconds = ready_autoencoder(arguments.work)
    ratio = psnr(autoencoder)
    print(f"autoencoder: {ratio:.1f} dB", flush=True)
    schedule, model = Schedule(steps=arguments.steps), Denoiser(len(tokenizer))
    assert_equal(new_text_encoder(len(tokenizer)), new_transformer(), SIDE // CELL, _SHORT)
    # Where the processor can, matrices are multiplied in bfloat16; everything else is float32.
    torch.set_float32_matmul_precision("medium")
    training = Training(model, tokenizer, schedule, arguments.work / "denoiser.pt")
    training.run(ready_pool(autoencoder, arguments.work))
    parts = {"text_encoder": model.text_encoder, "transformer": model.transformer, "vae": autoencoder}
    report: dict[str, Any] = {
        "parameters": {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()},
        "steps": schedule.steps,
        "pictures": schedule.steps * schedule.batch,
        "training_seconds": {"autoencoder": round(seconds), "denoiser": round(training.seconds)},
        "autoencoder_psnr_db": round(ratio, 1),
        "loss": training.history[-1]["loss"],
        "bytes": export(parts, tokenizer, new_scheduler(), arguments.out),
        "history": training.history,
    }
    arguments.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in report.items() if key != "history"}, indent=2))


if __name__ == "__main__":
    main()
