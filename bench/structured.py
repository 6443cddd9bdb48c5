"""What a schema costs: processor and wall time for each token of eight answers at once, constrained and free.

    python bench/structured.py [--rounds 8] [FOLDER ...]        on the demo model, and on these

Both kinds are asked in turn, of one engine, with the same sampling; time counts while all eight are being written.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from checkpoint import prompt_of
from engine_loop import loaded
from quiet import quietest
from rich.console import Console
from rich.table import Table

from paddock import demo
from paddock.protocol import CompletionRequest, Done, Failed, Sampling

STREAMS, TOKENS, TRIES = 8, 160, 3
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


def token_seconds(engine: Any, schema: str | None, seed: int) -> tuple[float, float]:
    """Wall and processor seconds for each token, from when all streams are written until the first of them ends."""
    for index in range(STREAMS):
        request = CompletionRequest(
            prompt=prompt_of(16, seed=seed + index),
            answer_schema=schema,
            sampling=Sampling(temperature=1.0, seed=seed + index, num_predict=TOKENS),
        )
        engine.submit(index, engine.prepare(request))
    marks: list[tuple[float, float, int]] = []
    seen: set[int] = set()
    while engine.has_work:
        frames = engine.step()
        if failed := [frame for _, frame in frames if isinstance(frame, Failed)]:
            raise SystemExit(failed[0].message)
        ended = any(isinstance(frame, Done) for _, frame in frames)
        seen |= {index for index, _ in frames}
        if len(seen) == STREAMS and (not marks or (ended and len(marks) == 1)):
            marks.append((time.perf_counter(), time.process_time(), engine.tokens_generated))
    (began, began_processor, before), (end, end_processor, after) = marks
    return (end - began) / (after - before), (end_processor - began_processor) / (after - before)


def measure(folder: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Medians of wall and processor seconds for each token, by kind."""
    engine = loaded(folder, STREAMS)
    schemas = {"free": None, "constrained": json.dumps(SCHEMA)}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in schemas}
    for turn in range(rounds + 1):
        for kind, schema in schemas.items():
            figures = quietest(partial(token_seconds, engine, schema, 100 * turn), TRIES)[0]
            if turn:  # the first one warms up
                found[kind].append(figures)
    return {kind: _middle(figures) for kind, figures in found.items()}


def _middle(figures: Sequence[tuple[float, float]]) -> tuple[float, float]:
    walls, processors = zip(*figures, strict=True)
    return statistics.median(walls), statistics.median(processors)


def main() -> int:
    """Print the table; exit status 1 if a schema costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    wish = parser.parse_args()
    folders = {"demo": demo.model_folder(), **{folder.name: folder for folder in wish.folders}}
    rows = {name: measure(folder, wish.rounds) for name, folder in folders.items()}
    table = Table(title=f"Milliseconds for a token, {STREAMS} answers at once, temperature 1")
    for heading in ("model", "free", "constrained", "ratio", "processor, free", "constrained", "ratio"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name, row in rows.items():
        cells: list[str] = []
        for free, constrained in zip(row["free"], row["constrained"], strict=True):
            cells += [f"{1000 * free:.3f}", f"{1000 * constrained:.3f}", f"{constrained / free:.3f}"]
        table.add_row(name, *cells)
    Console().print(table)
    worst = max(row["constrained"][0] / row["free"][0] for row in rows.values())
    is_enough = worst <= MOST
    verdict = "pass" if is_enough else "FAIL"
    print(f"a constrained token takes at most {worst:.3f} of a free one's time ({MOST:.2f} wanted): {verdict}")
    return 0 if is_enough else 1


if __name__ == "__main__":
    sys.exit(main())
