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
from evaluate_abilities import Abilities
from export import export
from model import DemoModel, ModelConfig
from tokens import RowMaker, train_tokenizer

HERE = Path(__file__).resolve().parent
# One thread: the matrices are so small that a second one gains little, and loses a lot when the machine is busy.
THREADS = 1


# Number of rows and their length. Short rows are cheap, so the first steps see nothing else; later the shapes take
# turns, and the longest rows are as long as the whole context. All hold about as many tokens: few, because so small a
# model learns more from many small steps than from few large ones.
SHORT_STEPS = 700
SHORT = (6, 384)
TAKE_TURNS = ((4, 512), (4, 512), (4, 512), (4, 512), (4, 512), (1, 2048))


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. The rate stays at its peak until `steady` of all steps are done, and then falls."""

    steps: int = 1600
    warmup: int = 50
    steady: float = 0.55
    matrix_rate: float = 0.02
    other_rate: float = 3e-3

    def factor(self, step: int) -> float:
        """The learning rate over its peak: up in a line, level, and down in a line."""
        left = (self.steps - step) / (self.steps * (1 - self.steady))
        return min(1.0, (step + 1) / self.warmup, 0.01 + 0.99 * left)

    def shape(self, step: int) -> tuple[int, int]:
        """Rows and their length at this step."""
        return SHORT if step < SHORT_STEPS else TAKE_TURNS[step % len(TAKE_TURNS)]


def optimizers(model: DemoModel, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=schedule.matrix_rate, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=schedule.other_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class Training:
    """A model on its way through the steps. It can be saved between two steps, and goes on from there the same."""

    def __init__(self, model: DemoModel, rows: RowMaker, schedule: Schedule) -> None:
        self._model, self._rows, self._schedule = model, rows, schedule
        self._optimizers = optimizers(model, schedule)
        self._peaks = [optimizer.param_groups[0]["lr"] for optimizer in self._optimizers]
        self._recent: list[float] = []
        self._step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []

    def run(self, checkpoint: Path | None) -> None:
        """Take all steps that are left, and save now and then if there is a file for it."""
        every = max(1, self._schedule.steps // 20)
        with tqdm(total=self._schedule.steps, initial=self._step, unit="step", smoothing=0.05, mininterval=2) as bar:
            while self._step < self._schedule.steps:
                started = time.monotonic()
                self._take_step()
                bar.update()
                if self._step % every == 0 or self._step == self._schedule.steps:
                    bar.write(self._note())
                    if checkpoint:
                        self._save(checkpoint)
                self.seconds += time.monotonic() - started

    def _take_step(self) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            batch = self._rows.batch(f"train {self._step}", *self._schedule.shape(self._step))
            loss = loss_of(self._model, *batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        for optimizer, peak in zip(self._optimizers, self._peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * self._schedule.factor(self._step)
            optimizer.step()
            optimizer.zero_grad()
        self._recent = [*self._recent[-49:], loss.item()]
        self._step += 1

    def _note(self) -> str:
        train_loss, held = sum(self._recent) / len(self._recent), validation_loss(self._model, self._rows, batches=2)
        note = {"step": self._step, "train_loss": round(train_loss, 4), "validation_loss": round(held, 4)}
        self.history.append(note)
        return f"step {self._step}: train loss {train_loss:.4f}, validation loss {held:.4f}"

    def _save(self, path: Path) -> None:
        state = {
            "step": self._step,
            "recent": self._recent,
            "seconds": self.seconds,
            "history": self.history,
            "model": self._model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, path: Path) -> None:
        """Go on from where a run of the same schedule was saved."""
        state = torch.load(path, weights_only=True)
        self._step, self._recent = state["step"], state["recent"]
        self.seconds, self.history = state["seconds"], state["history"]
        self._model.load_state_dict(state["model"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


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
        **Abilities(model, tokenizer, count).figures(),
    }
    return {name: round(value, 4) for name, value in figures.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--report", type=Path, default=HERE / "report.json", help="file for the figures")
    parser.add_argument("--steps", type=int, default=Schedule.steps, help="fewer steps for a quick try")
    parser.add_argument("--stories", type=int, default=50, help="stories for each figure of the report")
    parser.add_argument("--checkpoint", type=Path, help="file to save to, and to go on from if it is there")
    return parser.parse_args()


def main() -> None:
    """Train, measure, export and report."""
    arguments = _arguments()
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads what it has not written
    torch.set_num_threads(THREADS)
    config, schedule = ModelConfig(), Schedule(steps=arguments.steps)
    tokenizer = train_tokenizer(config.vocab_size)
    rows, model = RowMaker(tokenizer), DemoModel(config)
    training = Training(model, rows, schedule)
    if arguments.checkpoint and arguments.checkpoint.exists():
        training.load(arguments.checkpoint)
    training.run(arguments.checkpoint)
    trained = time.monotonic()
    report: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": schedule.steps,
        "tokens": sum(math.prod(schedule.shape(step)) for step in range(schedule.steps)),
        "training_seconds": round(training.seconds),
        "train_loss": training.history[-1]["train_loss"],
        **measure(model, tokenizer, rows, arguments.stories),
        "bytes": export(model, tokenizer, arguments.out),
        "history": training.history,
    }
    report["measuring_seconds"] = round(time.monotonic() - trained)
    arguments.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in report.items() if key != "history"}, indent=2))


if __name__ == "__main__":
    main()
