"""A real server for clients: the packaged models, and tiny ones that call tools, think and embed as they are told."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName
from tests.clients.speaker import make_caller, make_thinker
from tests.clients.telling import CALLER, DEMO, THINKER, VECTORS
from tests.road.conftest import Road, road_from
from tests.runner.engines.embedding.tiny import make_tiny_bert

AT_ONCE_TEMPLATE = "{% set enable_thinking = false %}" + (
    (Path(__file__).parents[2] / "training" / "chat_template.jinja").read_text(encoding="utf-8")
)
"""The demo's own, but for thinking, which not every client can switch off."""
_MAKERS = {CALLER: make_caller, THINKER: make_thinker, VECTORS: make_tiny_bert}


@contextmanager
def serving(**settings: str) -> Iterator[Road]:
    """A server in a temporary home, with every model that the scripts ask for."""
    with tempfile.TemporaryDirectory(prefix="paddock-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        # The packaged models come into a store that is new, so the server goes first.
        with road_from(home / "home", **settings) as road:
            library = Library(road.home / "models")
            for name, make in _MAKERS.items():
                import_folder(library, ModelName.parse(name), make(home / name))
            road.client.create(DEMO, from_="demo", template=AT_ONCE_TEMPLATE, parameters={"num_predict": 200})
            yield road
