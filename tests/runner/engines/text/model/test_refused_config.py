"""A tokenizer is read by what config.json says: which of the files is at fault is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import DamagedModel
from paddock.runner.engines.text.model.loading import load
from tests.runner.engines.text.walking import DEMO


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO, tmp_path / "model"))


def refusal_of(folder: Path) -> str:
    with pytest.raises(DamagedModel) as caught:
        load(folder, lambda _: None)
    return caught.value.message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"max_position_embeddings": "many"},
            'config.json has a value that its architecture does not take in "max_',
        ),
        ({"pad_token_id": "x"}, 'config.json has a value that its architecture does not take in "pad_token_id"'),
        ({"id2label": {"a": "b"}}, "config.json has a value that its architecture does not take:"),
    ],
    ids=["a text for a number", "a word for a number", "a name for a number"],
)
def test_a_config_that_the_library_refuses_is_named(folder: Path, change: dict[str, Any], told: str) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))

    assert told in refusal_of(folder)


def test_a_tokenizer_that_cannot_be_read_is_named_beside_a_sound_config(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": 5}')
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": [[1]]}}')

    assert refusal_of(folder).startswith("The tokenizer files are missing or damaged")
