"""What a schema costs: processor and wall time for each token of eight answers at once, constrained and free.

    python bench/structured.py [--rounds 24] [FOLDER ...]        on the demo model, and on these

All kinds are asked in turn, of one engine, with the same sampling. Time counts for the first tokens of all eight, so
that none has more to look back at. With few tokens to go, a schema must also be minded so that the answer ends whole.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from engine_loop import loaded
from quiet import quietest
from rich.console import Console
from rich.table import Table

from paddock import demo
from paddock.protocol import ChatMessage, ChatRequest, Done, Failed, Sampling
from paddock.runner.hygiene import leave_torch_out, prepare_environment

STREAMS, TOKENS, TRIES = 8, 32, 3
KINDS = {"free": (False, 1024), "schema": (True, 1024), "schema, few tokens": (True, 160)}
"""Whether it is constrained, and how many tokens an answer may have."""
MOST = 1.05
"""Of the time of a free token."""
SCHEMA = {
    "type": "array",
    "minItems": 4,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 40},
            "kind": {"enum": ["fox", "owl", "hare"]},
            "age": {"type": "integer", "minimum": 0, "maximum": 99},
            "friends": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
        },
        "required": ["name", "kind", "age"],
    },
}


def token_seconds(engine: Any, kind: str, seed: int) -> tuple[float, float]:
    """Wall and processor seconds for each token, from when all streams are written."""
    is_constrained, budget = KINDS[kind]
    for index in range(STREAMS):
        request = ChatRequest(
            messages=(ChatMessage(role="user", content="Tell me a long story about a red fox"),),
            think=False,
            answer_schema=json.dumps(SCHEMA) if is_constrained else None,
            sampling=Sampling(temperature=1.0, seed=seed + index, num_predict=budget),
        )
        engine.submit(index, engine.prepare(request))
    seen: set[int] = set()
    while len(seen) < STREAMS:
        seen |= step(engine)
    began, began_processor, before = time.perf_counter(), time.process_time(), engine.tokens_generated
    ended: set[int] = set()
    while not ended and engine.tokens_generated - before < STREAMS * TOKENS:
        ended = step(engine, Done)
    count = engine.tokens_generated - before
    taken = (time.perf_counter() - began) / count, (time.process_time() - began_processor) / count
    for index in range(STREAMS):
        engine.cancel(index)
    return taken


def step(engine: Any, kind: type = object) -> set[int]:
    """Who got a frame of this kind in one step."""
    frames = engine.step()
    if failed := [frame for _, frame in frames if isinstance(frame, Failed)]:
        raise SystemExit(failed[0].message)
    return {index for index, frame in frames if isinstance(frame, kind)}


def measure(folder: Path, rounds: int) -> list[list[float]]:
    """For each kind, medians: wall and processor milliseconds for a token, and both as multiples of a free one's in
    the same round."""
    engine = loaded(folder, STREAMS)
    turns = [
        [quietest(partial(token_seconds, engine, kind, 100 * turn), TRIES)[0] for kind in KINDS]
        for turn in range(rounds + 1)  # the first one warms up
    ]
    middles = []
    for number in range(len(KINDS)):
        figures = [
            [1000 * wall, 1000 * processor, wall / free_wall, processor / free_processor]
            for (free_wall, free_processor), (wall, processor) in ((turn[0], turn[number]) for turn in turns[1:])
        ]
        middles.append([statistics.median(column) for column in zip(*figures, strict=True)])
    return middles


def main() -> int:
    """Print the table; exit status 1 if a schema costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    wish = parser.parse_args()
    prepare_environment(os.environ, num_gpu=-1)
    leave_torch_out()
    folders = {"demo": demo.model_folder(), **{folder.name: folder for folder in wish.folders}}
    rows = {name: measure(folder, wish.rounds) for name, folder in folders.items()}
    table = Table(title=f"Milliseconds for a token, {STREAMS} answers at once, temperature 1")
    for heading in ("model", "answers", "wall", "processor", "wall x", "processor x"):
        table.add_column(heading, justify="left" if heading in ("model", "answers") else "right")
    for name, row in rows.items():
        for kind, figures in zip(KINDS, row, strict=True):
            table.add_row(name, kind, *(f"{figure:.3f}" for figure in figures))
    Console().print(table)
    worst = max(figures[2] for row in rows.values() for figures in row)
    is_enough = worst <= MOST
    verdict = "pass" if is_enough else "FAIL"
    print(f"a constrained token takes at most {worst:.3f} of a free one's time ({MOST:.2f} wanted): {verdict}")
    return 0 if is_enough else 1


if __name__ == "__main__":
    sys.exit(main())
