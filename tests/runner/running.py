"""Has an engine do what it is asked for, without a process around it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from paddock.runner.engines.base import Engine


def run(engine: Engine, *requests: Any) -> list[list[Any]]:
    """The frames of each request, all submitted at once."""
    for request_id, request in enumerate(requests):
        engine.submit(request_id, engine.prepare(request))
    frames = drained(engine)
    return [frames[request_id] for request_id in range(len(requests))]


def drained(engine: Engine) -> defaultdict[int, list[Any]]:
    """The frames of all requests that the engine has, by their ids."""
    frames: defaultdict[int, list[Any]] = defaultdict(list)
    while engine.has_work:
        for request_id, frame in engine.step():
            frames[request_id].append(frame)
    return frames
