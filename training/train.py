"""Trains the demo model from nothing and exports it.

    python training/train.py --out src/paddock/demo/model

It takes about 0.8 seconds a step on one idle core with AMX, and needs PyTorch; the server does not.
Everything that it learns from is generated here, from fixed seeds: on the same machine, with the same number of
threads, two runs write the same bytes.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from evaluate import loss_of, right_answers, story_requests, validation_loss, well_formed_share
from evaluate_abilities import Abilities
from export import export
from model import DemoModel, ModelConfig
from tokens import Mix, RowMaker, conversation, story_conversation, train_tokenizer
from tool_turns import COMMON_NAMES

HERE = Path(__file__).resolve().parent
# One thread: the matrices are so small that a second one gains little, and loses a lot when the machine is busy.
THREADS = 1


# Number of rows and their length. Short rows are cheap, so the first steps see nothing else; later the shapes take
# turns, and the longest rows are as long as the whole context. All hold the same number of tokens.
SHORT = (16, 256)
TAKE_TURNS = ((8, 512), (8, 512), (8, 512), (8, 512), (8, 512), (2, 2048))
FIRST_MIX = Mix()


@dataclass(frozen=True)
class Stage:
    """What the steps from `start` on see, in a run of the usual length."""

    start: int
    shapes: tuple[tuple[int, int], ...] = (SHORT,)
    mix: Mix = FIRST_MIX
    emphasis: float = 1.0


# Stories come first. When they go well, rows grow, more conversations have tools, some are exercises, and whatever
# is no story weighs more: a call is short, and only a few of its tokens have to be found out. A short last stage, at a
# small rate, is about who the model is where nobody gave it a name: until then names are mostly given.
STAGES = (
    Stage(0),
    Stage(1000, TAKE_TURNS, Mix(tools=0.45, exercises=0.15), 1.5),
    Stage(3500, TAKE_TURNS, Mix(tools=0.4, exercises=0.15, names=COMMON_NAMES), 1.5),
    Stage(5000, TAKE_TURNS, Mix(tools=0.4, exercises=0.15, names=COMMON_NAMES, introductions=0.5), 1.5),
)
STEPS = 5100
LAST_RATE = 0.15


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. A run of another length than the usual is the usual one in short."""

    steps: int = STEPS
    warmup: int = 50
    matrix_rate: float = 0.02
    other_rate: float = 3e-3

    def stage(self, step: int) -> Stage:
        """The stage that this step belongs to."""
        return [stage for stage in STAGES if stage.start * self.steps <= step * STEPS][-1]

    def factor(self, step: int) -> float:
        """The learning rate over its peak: up in a line, down in a cosine to nothing; then a small last descent."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        last = STAGES[-1].start * self.steps // STEPS
        if step < last:
            return _descent(step - self.warmup, last - self.warmup)
        return LAST_RATE * _descent(step - last, self.steps - last)

    def shape(self, step: int) -> tuple[int, int]:
        """Rows and their length at this step."""
        shapes = self.stage(step).shapes
        return shapes[step % len(shapes)]


def _descent(step: int, steps: int) -> float:
    """Half a cosine, from 1 down to 0."""
    return 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))


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

    def __init__(self, model: DemoModel, tokenizer: Tokenizer, schedule: Schedule) -> None:
        self._model, self._schedule = model, schedule
        self._rows, self._story_rows = RowMaker(tokenizer), RowMaker(tokenizer, story_conversation)
        self._stage_rows = {
            stage: RowMaker(tokenizer, partial(conversation, mix=stage.mix), stage.emphasis) for stage in STAGES
        }
        self._optimizers = optimizers(model, schedule)
        self._peaks = [optimizer.param_groups[0]["lr"] for optimizer in self._optimizers]
        self._recent: list[float] = []
        self._step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []

    def run(self, checkpoint: Path | None) -> None:
        """Take all steps that are left, and save now and then if there is a file for it."""
        every = 100
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
            rows = self._stage_rows[self._schedule.stage(self._step)]
            loss = loss_of(self._model, rows.batch(f"train {self._step}", *self._schedule.shape(self._step)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        for optimizer, peak in zip(self._optimizers, self._peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * self._schedule.factor(self._step)
            optimizer.step()
            optimizer.zero_grad()
        self._recent = [*self._recent[-49:], loss.item()]
        self._step += 1

    def _note(self) -> str:
        losses = {
            "train_loss": sum(self._recent) / len(self._recent),
            "validation_loss": validation_loss(self._model, self._rows, batches=2),
            "story_loss": validation_loss(self._model, self._story_rows, batches=1),
        }
        self.history.append({"step": self._step, **{name: round(loss, 4) for name, loss in losses.items()}})
        return ", ".join(f"{name} {value}" for name, value in self.history[-1].items())

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


def measure(model: DemoModel, tokenizer: Tokenizer, count: int) -> dict[str, float]:
    """The figures of the report, on the weights as they are exported (rounded to float16)."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    seen, unseen = (story_requests(count, "report", unseen_pairs=unseen) for unseen in (False, True))
    generator, rows = torch.Generator().manual_seed(7), RowMaker(tokenizer)
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
    model = DemoModel(config)
    training = Training(model, tokenizer, schedule)
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
        **measure(model, tokenizer, arguments.stories),
        "bytes": export(model, tokenizer, arguments.out),
        "history": training.history,
    }
    report["measuring_seconds"] = round(time.monotonic() - trained)
    arguments.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in report.items() if key != "history"}, indent=2))


if __name__ == "__main__":
    main()
