"""An embedding engine driven by hand, without a loop and without threads."""

from __future__ import annotations

from typing import Any

from paddock.errors import from_code
from paddock.protocol import Done, Failed, Frame, Vectors
from paddock.runner.engines.embedding.engine import EmbeddingEngine


def run_alone(engine: EmbeddingEngine, request: Any) -> tuple[tuple[tuple[float, ...], ...], Done]:
    """The rows that one request makes, and its end; a failure is raised."""
    engine.submit(1, engine.prepare(request))
    frames: list[Frame] = []
    while engine.has_work:
        frames += [frame for _, frame in engine.step()]
    if isinstance(frames[-1], Failed):
        raise from_code(frames[-1].code, frames[-1].message)
    vectors, done = frames
    assert isinstance(vectors, Vectors)
    assert isinstance(done, Done)
    return vectors.rows, done
