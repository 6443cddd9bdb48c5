"""The server of the API's tests, with a model of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock.store.create import import_folder
from paddock.store.names import ModelName
from tests.api.conftest import CONFIG, Served, image_store, painting, served, write_model_folder

__all__ = ["every_kind", "image_store", "painting", "served"]

TEMPLATE = "{{ tools }}<tool_call>{{ tool_call.name }}<think></think>"


@pytest.fixture
async def every_kind(painting: Served, tmp_path: Path) -> Served:
    """`tiny`, `zimage`, `klein`; `smart`, which thinks and calls tools; the encoders `vectors` and `scores`."""
    for name, architecture in (("vectors", "BertModel"), ("scores", "BertForSequenceClassification")):
        folder = write_model_folder(tmp_path / name, seed=len(name))
        (folder / "config.json").write_text(
            json.dumps({**CONFIG, "model_type": "bert", "architectures": [architecture]})
        )
        import_folder(painting.library, ModelName.parse(name), folder)
    smart = {"from": "tiny", "template": TEMPLATE, "system": "Be brief.", "license": "MIT", "parameters": {"seed": 1}}
    await painting.post("/api/create", {"model": "smart", "stream": False, **smart})
    return painting
