from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.runner.engines.embedding.recipe import DenseLayer, read_recipe
from tests.runner.engines.embedding.tiny import POOLING, save_modules

DENSE = {
    "in_features": 32,
    "out_features": 48,
    "bias": False,
    "activation_function": "torch.nn.modules.linear.Identity",
}


def write_modules(folder: Path, *kinds: str, path: str = "") -> None:
    modules = [{"idx": 0, "path": path, "type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))


def test_without_modules_the_architectures_own_pooling_is_used(tmp_path: Path) -> None:
    assert read_recipe(tmp_path, "lasttoken").pooling == ("lasttoken",)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (POOLING, ("mean",)),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_lasttoken": True}, ("lasttoken",)),
        ({"pooling_mode_max_tokens": True, "pooling_mode_cls_token": True}, ("cls", "max")),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, ("mean_sqrt_len_tokens",)),
        ({"pooling_mode": "weightedmean"}, ("weightedmean",)),
        ({"pooling_mode": ["mean", "cls"]}, ("cls", "mean")),
    ],
)
def test_pooling_is_read_in_its_old_and_its_new_form(tmp_path: Path, settings: Any, expected: tuple[str, ...]) -> None:
    save_modules(tmp_path, {"1_Pooling": settings})

    assert read_recipe(tmp_path, "mean").pooling == expected


def test_dense_layers_and_the_longest_text_are_read(tmp_path: Path) -> None:
    save_modules(tmp_path, {"1_Pooling": POOLING, "2_Dense": DENSE})
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48, "do_lower_case": True}))

    recipe = read_recipe(tmp_path, "mean")

    assert recipe.dense == (DenseLayer("2_Dense", 32, 48, has_bias=False, activation="Identity"),)
    assert recipe.longest == 48
    assert recipe.lowers_case


@pytest.mark.parametrize(
    "kinds",
    [
        ("Transformer", "CNN"),
        ("Transformer", "Pooling", "Asym"),
        ("Transformer", "Pooling", "Normalize", "Dense"),
        ("Pooling", "Transformer"),
        (),
    ],
)
def test_a_module_that_is_not_known_makes_no_wrong_vectors(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    write_modules(tmp_path, *kinds)

    with pytest.raises(UnsupportedModel):
        read_recipe(tmp_path, "mean")


def test_an_unknown_pooling_is_refused(tmp_path: Path) -> None:
    save_modules(tmp_path, {"1_Pooling": {"pooling_mode": "attention"}})

    with pytest.raises(UnsupportedModel, match="does not know the pooling"):
        read_recipe(tmp_path, "mean")


@pytest.mark.parametrize("path", ["../other", "/etc", "a/b", ".hidden"])
def test_a_module_cannot_lie_outside_of_the_model(tmp_path: Path, path: str) -> None:
    write_modules(tmp_path, "Transformer", "Pooling", path=path)

    with pytest.raises(DamagedModel, match="not the model's own"):
        read_recipe(tmp_path, "mean")


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    save_modules(tmp_path, {"1_Pooling": POOLING})
    (tmp_path / "1_Pooling" / "config.json").unlink()

    with pytest.raises(DamagedModel, match=r"1_Pooling/config\.json"):
        read_recipe(tmp_path, "mean")
