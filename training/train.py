"""Trains the demo model from nothing and exports it.

    python training/train.py --out src/paddock/demo/model

It takes about 16 minutes on one busy core with AMX (see README.md), and needs PyTorch; the server does not.
Everything that it learns from is generated here, from fixed seeds: on the same machine, with the same number of
threads, two runs write the same bytes.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from evaluate import loss_of, right_answers, story_requests, validation_loss, well_formed_share
from export import export
from model import DemoModel, ModelConfig
from tokens import RowMaker, train_tokenizer

HERE = Path(__file__).resolve().parent
# One thread: the matrices are so small that a second one gains little, and loses a lot when the machine is busy.
THREADS = 1


# Number of rows and their length. Short rows are cheap, so the first half of the steps sees nothing else; later the
# shapes take turns, and the longest rows are as long as the whole context. All hold the same number of tokens.
SHORT = (16, 256)
TAKE_TURNS = ((8, 512), (8, 512), (8, 512), (8, 512), (8, 512), (2, 2048))


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    steps: int = 900
    warmup: int = 50
    matrix_rate: float = 0.02
    other_rate: float = 3e-3

    def factor(self, step: int) -> float:
        """The learning rate over its peak: up in a line, down in a cosine."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))

    def shape(self, step: int) -> tuple[int, int]:
        """Rows and their length at this step."""
        return SHORT if step < self.steps // 2 else TAKE_TURNS[step % len(TAKE_TURNS)]


def optimizers(model: DemoModel, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=schedule.matrix_rate, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=schedule.other_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train(model: DemoModel, rows: RowMaker, schedule: Schedule) -> list[dict[str, float]]:
    """Run all steps; the answer is the history of losses."""
    tuned = optimizers(model, schedule)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in tuned]
    history: list[dict[str, float]] = []
    recent: list[float] = []
    every = max(1, schedule.steps // 20)
    progress = tqdm(range(schedule.steps), unit="step", smoothing=0.05, mininterval=2)
    for step in progress:
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, *rows.batch(f"train {step}", *schedule.shape(step)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, peak in zip(tuned, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * schedule.factor(step)
            optimizer.step()
            optimizer.zero_grad()
        recent = [*recent[-49:], loss.item()]
        if (step + 1) % every == 0 or step + 1 == schedule.steps:
            train_loss, held = sum(recent) / len(recent), validation_loss(model, rows, batches=2)
            history.append({"step": step + 1, "train_loss": round(train_loss, 4), "validation_loss": round(held, 4)})
            progress.write(f"step {step + 1}: train loss {train_loss:.4f}, validation loss {held:.4f}")
    return history


def measure(model: DemoModel, tokenizer: Tokenizer, rows: RowMaker, count: int) -> dict[str, float]:
    """The figures of the report, on the weights as they are exported (rounded to float16)."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    seen, unseen = (story_requests(count, "report", unseen_pairs=unseen) for unseen in (False, True))
    generator = torch.Generator().manual_seed(7)
    figures = {
        "validation_loss": validation_loss(model, rows),
        "validation_loss_2048": validation_loss(model, rows, batches=1, length=2048),
        "well_formed_greedy": well_formed_share(model, tokenizer, seen),
        "well_formed_greedy_held_out": well_formed_share(model, tokenizer, unseen),
        "well_formed_sampled": well_formed_share(model, tokenizer, seen, generator),
        "well_formed_sampled_held_out": well_formed_share(model, tokenizer, unseen, generator),
        "right_answers": right_answers(model, tokenizer, unseen=False),
        "right_answers_held_out": right_answers(model, tokenizer, unseen=True),
    }
    return {name: round(value, 4) for name, value in figures.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--report", type=Path, default=HERE / "report.json", help="file for the figures")
    parser.add_argument("--steps", type=int, default=Schedule.steps, help="fewer steps for a quick try")
    parser.add_argument("--stories", type=int, default=50, help="stories for each figure of the report")
    return parser.parse_args()


def main() -> None:
    """Train, measure, export and report."""
    arguments = _arguments()
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(THREADS)
    config, schedule = ModelConfig(), Schedule(steps=arguments.steps)
    started = time.monotonic()
    tokenizer = train_tokenizer(config.vocab_size)
    rows, model = RowMaker(tokenizer), DemoModel(config)
    history = train(model, rows, schedule)
    trained = time.monotonic()
    report: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": schedule.steps,
        "tokens": sum(math.prod(schedule.shape(step)) for step in range(schedule.steps)),
        "training_seconds": round(trained - started),
        "train_loss": history[-1]["train_loss"],
        **measure(model, tokenizer, rows, arguments.stories),
        "bytes": export(model, tokenizer, arguments.out),
        "history": history,
    }
    report["measuring_seconds"] = round(time.monotonic() - trained)
    arguments.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in report.items() if key != "history"}, indent=2))


if __name__ == "__main__":
    main()
