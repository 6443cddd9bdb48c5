"""A model with a draft model: what may be one, and how both are stored as one model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock.errors import BadRequest, DamagedModel, NotFound
from paddock.store.create import CreateSpec, create
from paddock.store.library import Library
from paddock.store.show import show_modelfile
from paddock.store.views import draft_view
from tests.store.making import CONFIG, derive, ignore, make, named, uploaded, write_model


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "models")


@pytest.fixture
def both(library: Library, tmp_path: Path) -> Library:
    """A library with a model "large" and one of other weights, "small"."""
    make(library, write_model(tmp_path / "large", fill=1.0), "large")
    make(library, write_model(tmp_path / "small", fill=2.0), "small")
    return library


def with_tokenizer(folder: Path, tokenizer: object, **model: object) -> Path:
    write_model(folder, **model)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_a_model_made_with_a_draft_knows_both(both: Library) -> None:
    model = derive(both, "quick", "large", draft="small")

    assert model.draft_model == "small:latest"
    assert model.facts.draft == both.get(named("small")).facts
    assert model.facts == both.get(named("quick")).facts
    assert model.digest != both.get(named("large")).digest
    assert "# Its draft model, which comes with it: small:latest\n" in show_modelfile(model)


def test_a_runner_is_handed_a_folder_of_each(both: Library, tmp_path: Path) -> None:
    view = both.view(derive(both, "quick", "large", draft="small"))

    for folder, source in ((view, "large"), (draft_view(view), "small")):
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            path.name: path.read_bytes() for path in (tmp_path / source).iterdir()
        }


def test_the_files_of_the_draft_are_none_of_the_models_own(both: Library) -> None:
    model = derive(both, "quick", "large", draft="small")

    assert both.files(model).keys() == both.files(both.get(named("large"))).keys()
    assert both.tensors(model) == both.tensors(both.get(named("large")))


def test_uploaded_files_may_have_a_draft_too(both: Library, tmp_path: Path) -> None:
    spec = CreateSpec(named("quick"), files=uploaded(both, tmp_path / "large"), draft="small")

    assert create(both, spec, ignore).draft_model == "small:latest"


def test_a_folder_may_have_a_draft_too(both: Library, tmp_path: Path) -> None:
    assert make(both, tmp_path / "large", "quick", draft="small").draft_model == "small:latest"


def test_the_draft_stays_when_its_own_model_is_deleted_and_goes_with_the_last_that_has_it(both: Library) -> None:
    model = derive(both, "quick", "large", draft="small")
    view = both.view(model)

    both.delete(named("small"))
    assert (draft_view(both.view(model)) / "model.safetensors").exists()
    both.delete(named("quick"))

    assert not view.exists()
    assert not draft_view(view).exists()
    assert not any(both.blobs.has(layer.digest) for layer in model.manifest.draft_files if "safetensors" in layer.name)


def test_views_of_drafts_are_kept_as_long_as_their_models(both: Library) -> None:
    view = both.view(derive(both, "quick", "large", draft="small"))

    both.collect()

    assert draft_view(view).exists()


def test_a_model_made_from_it_inherits_the_draft_or_has_another(both: Library, tmp_path: Path) -> None:
    make(both, write_model(tmp_path / "tiny", fill=3.0), "tiny")
    derive(both, "quick", "large", draft="small")

    assert derive(both, "child", "quick", system="Be brief.").draft_model == "small:latest"
    other = derive(both, "other", "quick", draft="tiny")
    assert other.draft_model == "tiny:latest"
    assert len(other.manifest.draft_files) == len(both.get(named("tiny")).manifest.files)


def test_a_draft_that_has_one_itself_lends_only_itself(both: Library) -> None:
    derive(both, "quick", "large", draft="small")

    model = derive(both, "quicker", "large", draft="quick")

    assert model.facts.draft is not None
    assert model.facts.draft.draft is None
    assert len(model.manifest.draft_files) == len(both.get(named("large")).manifest.files)


def test_damage_of_the_draft_is_damage_of_the_model(both: Library) -> None:
    model = derive(both, "quick", "large", draft="small")
    both.blobs.remove(next(layer.digest for layer in model.manifest.draft_files if "safetensors" in str(layer.name)))

    with pytest.raises(DamagedModel, match=r"model\.safetensors is missing"):
        both.view(model)


def test_a_draft_has_to_be_there(both: Library) -> None:
    with pytest.raises(NotFound):
        derive(both, "quick", "large", draft="absent")


def words(*extra: str, added: int = 3) -> dict[str, object]:
    vocabulary = {word: number for number, word in enumerate(("a", "b", "c", *extra))}
    return {"model": {"vocab": vocabulary}, "added_tokens": [{"content": "<end>", "id": added, "special": True}]}


@pytest.mark.parametrize(
    ("tokenizer", "is_same"),
    [
        (words() | {"padding": None}, True),
        (words("d"), False),
        (words(added=4), False),
        ({"model": {"vocab": [["a", 0.0], ["b", -1.0], ["c", -2.0]]}, "added_tokens": words()["added_tokens"]}, True),
        ({"model": {"vocab": [["b", 0.0], ["a", -1.0], ["c", -2.0]]}, "added_tokens": words()["added_tokens"]}, False),
        ({"model": 7}, False),
    ],
)
def test_only_ids_have_to_be_the_same(library: Library, tmp_path: Path, tokenizer: object, is_same: bool) -> None:
    make(library, with_tokenizer(tmp_path / "large", words()), "large")
    make(library, with_tokenizer(tmp_path / "small", tokenizer), "small")

    if is_same:
        assert derive(library, "quick", "large", draft="small").draft_model == "small:latest"
    else:
        with pytest.raises(BadRequest, match=r"tokenizer"):
            derive(library, "quick", "large", draft="small")


def test_what_cannot_take_tokens_back_has_no_use_for_a_draft(library: Library, tmp_path: Path) -> None:
    recurrent = {
        "model_type": "mamba2", "hidden_size": 8, "num_hidden_layers": 1, "num_heads": 2, "head_dim": 8,
        "state_size": 4, "n_groups": 1, "conv_kernel": 4, "vocab_size": 16, "expand": 2,
    }  # fmt: skip
    model = make(library, write_model(tmp_path / "recurrent", config={**CONFIG, **recurrent}), "recurrent")
    assert model.facts.layers is not None
    assert model.facts.layers.state_values
    make(library, write_model(tmp_path / "large"), "large")

    for name, draft in (("large", "recurrent"), ("recurrent", "large")):
        with pytest.raises(BadRequest, match="recurrent layers"):
            derive(library, "quick", name, draft=draft)


def test_no_file_can_pretend_to_be_a_drafts(both: Library, tmp_path: Path) -> None:
    files = uploaded(both, tmp_path / "large")

    with pytest.raises(BadRequest, match="name its draft model"):
        create(both, CreateSpec(named("odd"), files={**files, "draft/config.json": files["config.json"]}), ignore)
