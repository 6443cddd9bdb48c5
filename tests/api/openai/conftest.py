"""A model that thinks and calls tools, as far as the server can tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paddock.store.create import import_folder
from paddock.store.library import Library, StoredModel
from paddock.store.names import ModelName
from tests.api.conftest import Served, write_model_folder

TEMPLATE = "{{ tools }}<tool_call>{{ tool_call.name }}<think></think>"
PARAMETERS = {"temperature": 0.3, "top_p": 0.7, "num_predict": 99}


@pytest.fixture
async def smart(served: Served) -> Served:
    """The server with `smart`, made of `tiny`, whose own PARAMETERs are its defaults."""
    await served.post("/api/create", {"model": "smart", "from": "tiny", "template": TEMPLATE, "parameters": PARAMETERS})
    return served


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> StoredModel:
    """A model that can do nothing but chat, without a server."""
    library = Library(tmp_path_factory.mktemp("models"))
    import_folder(library, ModelName.parse("tiny"), write_model_folder(tmp_path_factory.mktemp("tiny")))
    return library.get(ModelName.parse("tiny"))


@pytest.fixture(scope="session")
def smart_model(tiny_model: StoredModel) -> StoredModel:
    """`smart` without a server."""
    facts = replace(tiny_model.facts, capabilities=("completion", "tools", "thinking"))
    name = ModelName.parse("smart")
    return replace(tiny_model, name=name, template=TEMPLATE, parameters=dict(PARAMETERS), facts=facts)
