"""A real server for clients: the packaged models, and tiny ones that call tools, think and embed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName
from tests.clients.speaker import make_caller, make_thinker
from tests.clients.telling import CALLER, DEMO, SCRIBE, THINKER, VECTORS
from tests.road.conftest import Road, road_from
from tests.runner.engines.embedding.tiny import make_tiny_bert

SCRIBE_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n<tools>{{ tools | tojson }}</tools><|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for tool_call in message.tool_calls or [] %}"
    "<tool_call>{{ (tool_call.function or tool_call) | tojson }}</tool_call>{# tool_call.name #}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The demo's own, and the tools: it calls one where that is demanded."""
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
            road.client.create(SCRIBE, from_=DEMO, template=SCRIBE_TEMPLATE, parameters={"num_predict": 200})
            yield road
