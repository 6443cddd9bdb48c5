from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from paddock.errors import InvalidModelFiles
from paddock.store.create import import_folder
from paddock.store.encoders import encoder_capability, is_encoder
from paddock.store.library import Library
from tests.store.making import CONFIG, named, write_model


@pytest.mark.parametrize(
    ("files", "config", "expected"),
    [
        ([], {"model_type": "bert"}, True),
        ([], {"model_type": "xlm-roberta"}, True),
        ([], {"model_type": "modernbert"}, True),
        ([], {"model_type": "qwen3"}, False),
        (["modules.json"], {"model_type": "qwen3"}, True),
        ([], {"model_type": "gemma3_text", "use_bidirectional_attention": True}, True),
        ([], {"model_type": "gemma3_text", "use_bidirectional_attention": False}, False),
    ],
)
def test_encoders_are_told_by_their_architecture_or_their_files(
    files: list[str], config: dict[str, Any], expected: bool
) -> None:
    assert is_encoder(files, config) is expected


def test_a_classifier_ranks_and_everything_else_embeds() -> None:
    assert encoder_capability({"architectures": ["XLMRobertaForSequenceClassification"]}) == "rerank"
    assert encoder_capability({"architectures": ["BertModel"]}) == "embedding"
    assert encoder_capability({}) == "embedding"


def write_sentence_model(folder: Path) -> Path:
    """With a pooling and two dense layers, whose tensors have the same names, and folders that no model needs."""
    write_model(folder, config={**CONFIG, "model_type": "bert"})
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}])
    )
    for part in ("1_Pooling", "2_Dense", "3_Dense", "onnx"):
        (folder / part).mkdir()
        (folder / part / "config.json").write_text("{}")
    for part in ("2_Dense", "3_Dense"):
        save_file({"linear.weight": numpy.zeros((8, 8), numpy.float32)}, folder / part / "model.safetensors")
    return folder


def test_the_parts_of_an_encoder_come_along(tmp_path: Path) -> None:
    library = Library(tmp_path / "models")

    model = import_folder(library, named("vectors"), write_sentence_model(tmp_path / "folder"))

    assert model.facts.engine == "embedding"
    assert model.facts.capabilities == ("embedding",)
    assert model.facts.weights_bytes == (16 * 8 + 2 * 8 * 8) * 4
    view = library.view(model)
    assert {path.relative_to(view).as_posix() for path in view.rglob("*") if path.is_file()} == {
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "3_Dense/config.json",
        "3_Dense/model.safetensors",
        "config.json",
        "model.safetensors",
        "modules.json",
        "tokenizer.json",
    }


def test_a_damaged_part_makes_no_model(tmp_path: Path) -> None:
    folder = write_sentence_model(tmp_path / "folder")
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"nothing of the kind")

    with pytest.raises(InvalidModelFiles, match=r"2_Dense/model\.safetensors"):
        import_folder(Library(tmp_path / "models"), named("vectors"), folder)
