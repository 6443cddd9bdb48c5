from __future__ import annotations

import json
import os

import numpy
import pytest
from safetensors.numpy import save_file

from paddock.errors import (
    BadRequest,
    InvalidModelFiles,
    InvalidName,
    InvalidOption,
    NotFound,
    Unsupported,
    UnsupportedModel,
)
from paddock.store.create import CreateSpec, create, import_folder
from paddock.store.library import Library
from tests.store.making import (
    blob_count,
    derive,
    ignore,
    make,
    named,
    safetensors_bytes,
    uploaded,
    write_model,
    write_sharded_model,
)


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "models")


@pytest.fixture
def folder(tmp_path):
    return write_model(tmp_path / "folder")


def create_from(library, files, **said):
    return create(library, CreateSpec(named("demo"), files=files, **said), ignore)


def refusal(library, files, **said) -> str:
    with pytest.raises(BadRequest) as error:
        create_from(library, files, **said)
    assert library.list() == []
    return error.value.message


def test_uploaded_files_become_a_model(library, folder):
    statuses = []
    model = create(library, CreateSpec(named("demo"), files=uploaded(library, folder)), statuses.append)
    assert library.get(named("demo")) == model
    assert {layer.name for layer in model.manifest.files} == {"config.json", "model.safetensors", "tokenizer.json"}
    assert [status.split(" sha256:")[0] for status in statuses] == [
        *["using existing layer"] * 3,
        "creating new layer",
        "writing manifest",
        "success",
    ]


def test_shards_become_a_model(library, tmp_path):
    model = create_from(library, uploaded(library, write_sharded_model(tmp_path / "sharded")))
    assert model.facts.parameter_count == 32
    assert len(model.manifest.files) == 5


def test_what_is_said_about_a_model_is_kept(library, folder):
    said = {
        "parameters": {"temperature": 0.5, "stop": "END", "num_ctx": 128, "seed": None},
        "system": "Be kind.",
        "template": "{% for m in messages %}{{ m.content }}{% endfor %}",
        "licenses": ("MIT", "and more"),
        "messages": ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}),
    }
    create_from(library, uploaded(library, folder), **said)
    model = library.get(named("demo"))
    assert model.parameters == {"temperature": 0.5, "stop": ["END"], "num_ctx": 128}
    assert (model.system, model.template) == (said["system"], said["template"])
    assert (model.licenses, model.messages) == (said["licenses"], said["messages"])
    assert model.parent_model == ""


def test_creating_the_same_again_gives_the_same_digest(library, folder):
    files = uploaded(library, folder)
    assert create_from(library, files).digest == create_from(library, files).digest


@pytest.mark.parametrize(
    "name",
    [
        "../config.json", "/etc/passwd", "a/b/c.json", "..", "a\\b.json", "a/../b.json", "./config.json",
        "C:\\x.json", "x\0.json",
        "a//b.json", "", "/", "x/", ".hidden.json", "é.json", "\ud800.json", "x" * 300 + ".json",
        "~/x.json", "a\n.json",
    ],
)  # fmt: skip
def test_a_file_name_that_is_no_plain_one_is_refused(library, folder, name):
    digest = library.blobs.add_bytes(b"{}").digest
    assert refusal(library, {**uploaded(library, folder), name: digest}) == "file path must be relative"


@pytest.mark.parametrize(
    "name",
    [
        "modeling.py", "pytorch_model.bin", "model.pt", "model.pth", "x.ckpt", "x.pkl", "x.npz", "x.npy", "model.gguf",
        "x.GGUF", "lib.so",
        "model.zip", "x.tar", "x.tar.gz", "README.md", "picture.png", "Makefile",
    ],
)  # fmt: skip
def test_files_that_may_hold_code_or_are_not_needed_are_refused_by_name(library, folder, name):
    digest = library.blobs.add_bytes(b"{}").digest
    message = refusal(library, {**uploaded(library, folder), name: digest})
    assert name in message
    assert message.endswith(".")


def test_a_blob_that_was_never_uploaded_is_not_found(library, folder):
    digest = "sha256:" + "ab" * 32
    with pytest.raises(NotFound, match=f'^blob "{digest}" not found$'):
        create_from(library, {**uploaded(library, folder), "model.safetensors": digest})


@pytest.mark.parametrize("digest", ["", "abc", "/dev/zero", "sha256:../../x"])
def test_what_is_no_digest_opens_no_file(library, folder, digest):
    with pytest.raises(InvalidName, match="invalid digest format"):
        create_from(library, {**uploaded(library, folder), "model.safetensors": digest})


@pytest.mark.parametrize(
    ("missing", "word"),
    [("config.json", "config.json"), ("model.safetensors", "weights"), ("tokenizer.json", "tokenizer")],
)
def test_a_missing_file_is_named(library, folder, missing, word):
    files = uploaded(library, folder)
    del files[missing]
    assert word in refusal(library, files)


@pytest.mark.parametrize(
    "others", [{"tokenizer.model"}, {"vocab.json", "merges.txt"}, {"qwen.tiktoken"}, {"vocab.txt"}]
)
def test_other_kinds_of_tokenizer_are_enough(library, folder, others):
    (folder / "tokenizer.json").unlink()
    for name in others:
        (folder / name).write_text("x")
    assert create_from(library, uploaded(library, folder)).name == named("demo")


def test_a_missing_shard_is_named(library, tmp_path):
    files = uploaded(library, write_sharded_model(tmp_path / "sharded"))
    del files["model-00002-of-00002.safetensors"]
    assert refusal(library, files) == (
        "The file model-00002-of-00002.safetensors is missing: model.safetensors.index.json names it."
    )


def test_a_shard_without_its_tensor_is_named(library, tmp_path):
    folder = write_sharded_model(tmp_path / "sharded")
    save_file({"wrong": numpy.zeros(1, numpy.float32)}, folder / "model-00002-of-00002.safetensors")
    assert "model-00002-of-00002.safetensors lacks" in refusal(library, uploaded(library, folder))


@pytest.mark.parametrize(
    "weight_map", [None, {}, [], {"first": 7}, {"first": "../evil"}, {"first": "/abs"}, {"first": "x.bin"}]
)
def test_a_hostile_index_is_refused(library, tmp_path, weight_map):
    folder = write_sharded_model(tmp_path / "sharded")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert "model.safetensors.index.json" in refusal(library, uploaded(library, folder))


def test_one_tensor_in_two_files_is_refused(library, folder):
    save_file({"embed.weight": numpy.zeros(1, numpy.float32)}, folder / "model-2.safetensors")
    assert "same name" in refusal(library, uploaded(library, folder))


def test_names_that_differ_in_case_only_are_refused(library, folder):
    files = uploaded(library, folder)
    assert "case" in refusal(library, {**files, "CONFIG.json": files["config.json"]})


def test_weights_that_no_engine_would_load_are_refused(library, folder):
    save_file({"a": numpy.zeros(1, numpy.float32)}, folder / "adapters.safetensors")
    assert "adapters.safetensors" in refusal(library, uploaded(library, folder))


def test_a_hostile_weights_file_is_refused_by_its_name(library, folder):
    files = uploaded(library, folder)
    for data in (b"GGUF" + bytes(100), safetensors_bytes(b"[" * 1000), b"PK\3\4"):
        blob = library.blobs.add_bytes(data)
        assert refusal(library, {**files, "model.safetensors": blob.digest}).startswith("The file model.safetensors ")
        assert library.blobs.has(blob.digest)  # it is what was uploaded


def test_a_huge_text_file_is_refused(library, folder):
    os.truncate(folder / "tokenizer.json", 65 * 1024 * 1024)
    assert "tokenizer.json is larger" in refusal(library, uploaded(library, folder))


def test_a_blob_damaged_on_disk_is_asked_for_again(library, folder):
    files = uploaded(library, folder)
    library.blobs.path(files["model.safetensors"]).chmod(0o644)
    os.truncate(library.blobs.path(files["model.safetensors"]), 20)
    with pytest.raises(NotFound, match=files["model.safetensors"]):
        create_from(library, files)
    assert not library.blobs.has(files["model.safetensors"])
    assert create_from(library, uploaded(library, folder)).facts.parameter_count == 128


def test_an_image_model_of_an_unknown_pipeline_is_told_so(library, folder):
    (folder / "model_index.json").write_text("{}")
    with pytest.raises(UnsupportedModel, match=r"The pipeline None in model_index.json"):
        create_from(library, uploaded(library, folder))


def test_neither_or_both_sources_are_refused(library, folder):
    assert refusal(library, {}) == "neither 'from' or 'files' was specified"
    assert "leave one of them out" in refusal(library, uploaded(library, folder), from_="x")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"temperatur": 1}, 'unknown parameter "temperatur"'),
        ({"top_k": "x"}, 'parameter "top_k" must be of type integer'),
        ({"mirostat": 1}, 'parameter "mirostat" is not supported here: remove it.'),
    ],
)
def test_parameters_are_checked(library, folder, parameters, message):
    with pytest.raises(InvalidOption) as error:
        create_from(library, uploaded(library, folder), parameters=parameters)
    assert error.value.message == message


@pytest.mark.parametrize(
    "messages",
    [({"role": "robot", "content": "x"},), ({"role": "user"},), ({"role": "user", "content": "x", "images": ""},)],
)
def test_messages_are_checked(library, folder, messages):
    assert "role" in refusal(library, uploaded(library, folder), messages=messages)


def test_texts_are_checked(library, folder):
    files = uploaded(library, folder)
    assert "valid text" in refusal(library, files, system="\ud800")
    assert "larger" in refusal(library, files, licenses=("x" * 3_000_000,))


def test_a_go_template_is_refused(library, folder):
    with pytest.raises(Unsupported, match="Jinja"):
        create_from(library, uploaded(library, folder), template="{{ .System }} {{ .Prompt }}")


# ---- from another model ---------------------------------------------------------------------------------------------


def test_a_derived_model_shares_its_parents_files(library, folder, tmp_path):
    parent = make(library, folder, parameters={"temperature": 0.1, "top_k": 5}, system="Old.", licenses=("MIT",))
    before = blob_count(tmp_path / "models")
    child = derive(library, "child", "DEMO", parameters={"temperature": 0.9, "top_k": None}, system="New.")
    assert child.manifest.files == parent.manifest.files
    assert blob_count(tmp_path / "models") == before + 3  # system, parameters and config
    assert (child.parameters, child.system, child.licenses) == ({"temperature": 0.9}, "New.", ("MIT",))
    assert (child.parent_model, child.facts) == ("demo:latest", parent.facts)


def test_what_is_not_said_is_inherited(library, folder):
    said = {
        "parameters": {"stop": ["a"]},
        "system": "S",
        "template": "{{ messages }}",
        "messages": ({"role": "user", "content": "x"},),
    }
    parent = make(library, folder, **said)
    child = derive(library, "child", "demo", system="", messages=())
    assert (child.parameters, child.system, child.template) == (parent.parameters, parent.system, parent.template)
    assert child.messages == parent.messages


def test_a_model_may_be_derived_from_itself(library, folder, tmp_path):
    make(library, folder, system="Old.")
    model = derive(library, "demo", "demo", system="New.")
    assert library.get(named("demo")).system == "New."
    assert blob_count(tmp_path / "models") == len(model.manifest.blobs)


def test_a_derived_model_outlives_its_parent(library, folder):
    make(library, folder)
    derive(library, "child", "demo")
    library.delete(named("demo"))
    library.view(library.get(named("child")))


def test_an_absent_parent_is_not_found_and_a_path_is_no_name(library):
    with pytest.raises(NotFound, match=r"^model 'nobody:latest' not found$"):
        derive(library, "x", "nobody")
    for path in ("/etc/shadow", "/dev/random", "../x", "./folder"):
        with pytest.raises(InvalidName, match=r"^invalid model name$"):
            derive(library, "x", path)


def test_a_failed_create_leaves_the_old_model(library, folder):
    made = make(library, folder, system="Old.")
    with pytest.raises(InvalidOption):
        derive(library, "demo", "demo", parameters={"x": 1})
    with pytest.raises(InvalidModelFiles):
        create_from(library, {"config.json": library.blobs.add_bytes(b"{}").digest})
    assert library.get(named("demo")) == made


# ---- from a folder --------------------------------------------------------------------------------------------------


def test_a_folder_is_imported_without_what_no_model_needs(library, folder):
    for name in (
        "README.md",
        "modeling.py",
        ".gitattributes",
        "pytorch_model.bin",
        "consolidated.safetensors",
        "chat_template.jinja",
    ):
        (folder / name).write_text("x")
    (folder / "subfolder").mkdir()
    statuses = []
    model = import_folder(library, named("demo"), folder, progress=statuses.append)
    assert {layer.name for layer in model.manifest.files} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
    }
    assert statuses[-2:] == ["writing manifest", "success"]
    assert len(statuses) == len(model.manifest.blobs) + 2


def test_a_folder_without_a_model_is_refused(library, tmp_path):
    for folder in (tmp_path / "absent", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InvalidModelFiles):
            import_folder(library, named("demo"), folder)
