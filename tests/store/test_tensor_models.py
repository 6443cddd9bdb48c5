"""Models that are stored one tensor at a time, as Ollama has them: brought in as they are, told, viewed and removed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import DamagedModel, InvalidModelFiles, NotFound, PaddockError, StoreError, UnsupportedModel
from paddock.store.components import components
from paddock.store.create import CreateSpec, create
from paddock.store.library import Library
from paddock.store.manifest import LICENSE_TYPE, PARAMETERS_TYPE, SYSTEM_TYPE, TEMPLATE_TYPE, manifest_digest
from paddock.store.names import ModelName
from paddock.store.show import show_modelfile
from tests.fakes.tensor_models import EXPERTS, LLAMA, TensorModel, all_of, as_it_is, promoted, tensor_model
from tests.store.making import ignore, named

NAME = "from/elsewhere:tag"
PLAIN = tensor_model()
INT4 = tensor_model(LLAMA, promoted)
GO_TEMPLATE = "{{ if .System }}{{ .System }}{{ end }}{{ .Prompt }}"
JINJA = "{% for message in messages %}{{ message.content }}<think>{% endfor %}"
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


def changed(model: TensorModel, edit: Edit) -> TensorModel:
    """The same with another manifest."""
    manifest = json.loads(model.manifest)
    edit(manifest)
    return dataclasses.replace(model, manifest=json.dumps(manifest).encode())


def first_tensor(manifest: dict[str, Any]) -> dict[str, Any]:
    return next(layer for layer in manifest["layers"] if layer["mediaType"].endswith(".tensor"))


# ---- what is told --------------------------------------------------------------------------------------------------


def test_a_manifest_from_elsewhere_is_kept_byte_by_byte(library: Library, tmp_path: Path) -> None:
    model = PLAIN.put_into(library, NAME)

    assert (tmp_path / "manifests/registry.ollama.ai/from/elsewhere/tag").read_bytes() == PLAIN.manifest
    assert model.digest == manifest_digest(PLAIN.manifest)
    assert model.size_bytes == sum(map(len, PLAIN.blobs.values()))


def test_facts_are_read_from_headers_and_the_models_own_files(library: Library) -> None:
    facts = INT4.put_into(library, NAME).facts

    assert (facts.engine, facts.family, facts.format) == ("text", "llama", "safetensors")
    assert facts.quantization_level == "int4"
    assert (facts.context_length, facts.embedding_length, facts.block_count) == (512, 64, 2)
    assert facts.capabilities == ("completion",)
    assert facts.parameter_count == PLAIN.put_into(library, "plain").facts.parameter_count
    assert facts.weights_bytes < facts.float32_bytes < facts.dense_bytes


def test_tensors_are_told_in_mlxs_words(library: Library) -> None:
    tensors = {tensor["name"]: tensor for tensor in library.tensors(INT4.put_into(library, NAME))}

    assert tensors["model.layers.0.mlp.down_proj.scales"]["shape"] == [64, 2]
    assert tensors["model.layers.0.mlp.down_proj.weight"] == {
        "name": "model.layers.0.mlp.down_proj.weight",
        "type": "U32",
        "shape": [64, 32],
    }
    assert tensors["model.norm.weight"]["type"] == "BF16"


def test_the_model_can_be_shown(library: Library) -> None:
    model = INT4.put_into(library, NAME)

    assert library.model_info(model)["llama.block_count"] == 2
    assert f"FROM {NAME}" in show_modelfile(model)
    parts = {part.name: part for part in components(library.files(model), model.facts)}
    assert parts["text"].quantization_level == "int4"
    assert sum(part.size_bytes for part in parts.values()) == model.facts.weights_bytes
    assert sum(part.parameter_count for part in parts.values()) == model.facts.parameter_count


def test_what_was_said_of_the_model_is_taken_over(library: Library) -> None:
    texts = {SYSTEM_TYPE: "Be kind.", LICENSE_TYPE: "MIT", PARAMETERS_TYPE: '{"top_k": 5}', TEMPLATE_TYPE: JINJA}
    model = tensor_model(texts=texts).put_into(library, NAME)

    assert (model.system, model.licenses, model.parameters) == ("Be kind.", ("MIT",), {"top_k": 5})
    assert model.template == JINJA
    assert "thinking" in model.facts.capabilities


def test_a_go_template_leaves_the_model_its_own(library: Library) -> None:
    assert tensor_model(texts={TEMPLATE_TYPE: GO_TEMPLATE}).put_into(library, NAME).template == ""


def test_what_the_description_says_does_not_count(library: Library) -> None:
    said = {"engine": "image", "weights_bytes": 1, "parameter_count": 7, "capabilities": ["vision", "tools"]}
    facts = tensor_model(description=said).put_into(library, NAME).facts

    assert facts == PLAIN.put_into(library, "other").facts


def test_facts_that_were_lost_are_found_again(library: Library, tmp_path: Path) -> None:
    expected = INT4.put_into(library, NAME)
    (note,) = (tmp_path / "facts").iterdir()
    note.write_text("{")

    assert Library(tmp_path).get(named(NAME)) == expected
    note.unlink()
    assert Library(tmp_path).get(named(NAME)) == expected
    assert note.exists()


def test_a_listing_has_the_model_beside_others(library: Library) -> None:
    INT4.put_into(library, NAME)
    PLAIN.put_into(library, "plain")

    assert {model.name.display for model in library.list()} == {NAME, "plain:latest"}


# ---- what becomes of it --------------------------------------------------------------------------------------------


def test_a_view_has_the_tensors_under_their_own_names(library: Library) -> None:
    model = INT4.put_into(library, NAME)

    view = library.view(model)

    assert {path.name for path in view.iterdir()} == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tensors",
    }
    blob = library.files(model)["tensors/model.norm.weight.safetensors"]
    assert (view / "tensors/model.norm.weight.safetensors").samefile(blob)
    assert library.view(model) == view


def test_a_copy_shares_the_blobs_and_the_last_name_takes_them_along(library: Library, tmp_path: Path) -> None:
    INT4.put_into(library, NAME)
    library.copy(named(NAME), named("second"))

    library.delete(named(NAME))
    assert library.view(library.get(named("second"))).is_dir()
    library.delete(named("second"))

    assert not list((tmp_path / "blobs").glob("sha256-*"))
    assert not list((tmp_path / "views").iterdir())
    assert not list((tmp_path / "facts").iterdir())


def test_a_model_can_be_made_from_it(library: Library) -> None:
    base = INT4.put_into(library, NAME)

    model = create(library, CreateSpec(named("mine"), from_=NAME, system="Be brief."), ignore)

    assert model.facts == base.facts
    assert model.system == "Be brief."
    assert library.files(model) == library.files(base)


def test_it_can_be_a_draft_of_another_of_its_kind(library: Library) -> None:
    PLAIN.put_into(library, "draft")
    INT4.put_into(library, NAME)

    model = create(library, CreateSpec(named("mine"), from_=NAME, draft="draft"), ignore)
    view = library.view(model)

    assert model.draft_model == "draft:latest"
    assert (view.with_name(view.name + ".draft") / "tensors/model.norm.weight.safetensors").exists()
    assert not (view / "draft").exists()


def test_a_draft_of_ollamas_own_is_left_out(library: Library) -> None:
    def add(manifest: dict[str, Any]) -> None:
        tensor = first_tensor(manifest)
        config = next(layer for layer in manifest["layers"] if layer.get("name") == "config.json")
        manifest["layers"] += [{**tensor, "name": f"draft.{tensor['name']}"}, {**config, "name": "draft/config.json"}]

    model = changed(PLAIN, add).put_into(library, NAME)
    plain = PLAIN.put_into(library, "plain")

    assert model.facts == plain.facts
    assert library.files(model) == library.files(plain)
    assert not model.manifest.draft_files


def test_many_layers_are_listed_and_viewed(library: Library) -> None:
    """As many as a model of two thousand tensors has; what takes its time is making the links."""
    model = tensor_model(EXPERTS | {"num_hidden_layers": 24}, as_it_is)
    stored = model.put_into(library, NAME)

    assert len(stored.manifest.layers) > 240
    assert len(list((library.view(stored) / "tensors").iterdir())) == len(stored.manifest.layers) - 3


# ---- what is refused -----------------------------------------------------------------------------------------------


def rename(name: str) -> Edit:
    return lambda manifest: first_tensor(manifest).update(name=name)


def resize(manifest: dict[str, Any]) -> None:
    first_tensor(manifest)["size"] += 1


def repeat(manifest: dict[str, Any]) -> None:
    manifest["layers"].append(first_tensor(manifest))


def repeat_in_capitals(manifest: dict[str, Any]) -> None:
    tensor = first_tensor(manifest)
    manifest["layers"].append({**tensor, "name": tensor["name"].upper()})


def put_beside(manifest: dict[str, Any]) -> None:
    """A whole file of weights beside the tensors."""
    tensor = first_tensor(manifest)
    whole = {**tensor, "mediaType": "application/vnd.paddock.image.weights", "name": "model.safetensors"}
    manifest["layers"].append(whole)


def hide_among(manifest: dict[str, Any]) -> None:
    """A file of settings where only tensors are."""
    config = next(layer for layer in manifest["layers"] if layer.get("name") == "config.json")
    config["name"] = "tensors/config.json"


def leave_out(name: str) -> Edit:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["layers"] = [layer for layer in manifest["layers"] if layer.get("name") != name]

    return edit


@pytest.mark.parametrize(
    ("edit", "kind", "problem"),
    [
        (rename("../../../etc/passwd"), InvalidModelFiles, "named as no tensor is"),
        (rename("model.other.weight"), InvalidModelFiles, "another name than its own"),
        (rename("vae/model.norm.weight"), InvalidModelFiles, "is not a part of the model"),
        (resize, StoreError, "another size than it has"),
        (repeat, InvalidModelFiles, "have the same name, or names that differ in case only"),
        (repeat_in_capitals, InvalidModelFiles, "differ in case only"),
        (put_beside, InvalidModelFiles, "its weights are stored one by one"),
        (hide_among, InvalidModelFiles, "no files of its own in tensors/"),
        (leave_out("config.json"), InvalidModelFiles, "no config.json"),
        (leave_out("tokenizer.json"), InvalidModelFiles, "no tokenizer"),
    ],
)
def test_a_manifest_that_makes_no_model_leaves_the_name_as_it_was(
    library: Library, edit: Edit, kind: type[PaddockError], problem: str
) -> None:
    before = INT4.put_into(library, NAME)

    with pytest.raises(kind, match=problem):
        changed(PLAIN, edit).put_into(library, NAME)

    assert library.get(named(NAME)) == before


def test_parameters_that_are_none_leave_the_name_as_it_was(library: Library) -> None:
    before = INT4.put_into(library, NAME)

    with pytest.raises(DamagedModel):
        tensor_model(texts={PARAMETERS_TYPE: "[1"}).put_into(library, NAME)

    assert library.get(named(NAME)) == before


def test_a_blob_that_is_not_here_is_not_found(library: Library) -> None:
    with pytest.raises(NotFound):
        library.put_bytes(ModelName.parse(NAME), PLAIN.manifest)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b'{"config": 1, "layers": []}'])
def test_what_is_no_manifest_is_told(library: Library, data: bytes) -> None:
    with pytest.raises(StoreError):
        library.put_bytes(ModelName.parse(NAME), data)


@pytest.mark.parametrize(
    ("description", "problem"),
    [({"model_format": "gguf"}, "in GGUF format"), ({"model_format": ""}, "in another program's format")],
)
def test_other_formats_are_not_supported(library: Library, description: dict[str, Any], problem: str) -> None:
    with pytest.raises(UnsupportedModel, match=problem):
        tensor_model(description=description).put_into(library, NAME)


def test_a_lost_tensor_is_told_by_its_name(library: Library) -> None:
    model = INT4.put_into(library, NAME)
    library.files(model)["tensors/model.norm.weight.safetensors"].unlink()

    with pytest.raises(DamagedModel, match=r"its file model\.norm\.weight is missing"):
        library.view(model)


def test_quantisations_are_named(library: Library) -> None:
    for kind in ("int8", "nvfp4", "mxfp4", "mxfp8"):
        assert tensor_model(LLAMA, all_of(kind)).put_into(library, kind).facts.quantization_level == kind
