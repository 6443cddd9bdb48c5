"""Conversions as the store sees them: what can be converted, the folder for a runner, and what is made of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import load_file, save_file

from paddock.errors import BadRequest, InvalidModelFiles, LoadFailed, NotFound, PaddockError, StoreFull, Unsupported
from paddock.protocol import decode, encode
from paddock.protocol.conversion import (
    ADAPTER_FOLDER,
    ORDER_FILE,
    OUTPUT_FOLDER,
    REPLY_FILE,
    SOURCE_FOLDER,
    ConversionOrder,
    ConversionReply,
)
from paddock.store.conversion import FOLDER, Conversion, ConversionWish, canonical_kind, sweep_conversions
from paddock.store.create import CreateSpec
from paddock.store.library import Library
from paddock.store.stored_config import Recipe
from tests.store.making import CONFIG, ignore, make, named, uploaded, write_model

ADAPTER = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": 2, "scale": 2.0, "dropout": 0.0}}
INT4 = ConversionWish("int4")


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "models")


@pytest.fixture
def conversions(library):
    """Makes conversions, and ends them after the test."""
    made = []

    def begin(spec: CreateSpec, wish: ConversionWish = INT4) -> Conversion:
        made.append(Conversion(library, spec, wish))
        return made[-1]

    yield begin
    for conversion in made:
        conversion.close()


def work(conversion: Conversion, **weights: numpy.ndarray) -> None:
    """What a runner would do."""
    output = conversion.folder / OUTPUT_FOLDER
    output.mkdir()
    source = conversion.folder / SOURCE_FOLDER
    config = json.loads((source / "config.json").read_text())
    config["quantization"] = {"group_size": 64, "bits": 4, "mode": "affine"}
    (output / "config.json").write_text(json.dumps(config))
    save_file(weights or load_file(source / "model.safetensors"), output / "model.safetensors")
    reply = ConversionReply(layers={"int8": ("lm_head",)})
    (conversion.folder / REPLY_FILE).write_bytes(encode(reply))


def upload_adapter(library: Library, folder: Path, rows: int = 16) -> dict[str, str]:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER))
    tensors = {
        "embed.lora_a": numpy.zeros((8, 2), numpy.float32),
        "embed.lora_b": numpy.zeros((2, rows), numpy.float32),
    }
    save_file(tensors, folder / "adapters.safetensors")
    return uploaded(library, folder)


def left_over(library: Library) -> list[Path]:
    return list((library.root / FOLDER).iterdir()) if (library.root / FOLDER).exists() else []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("int4", "int4"),
        ("INT8", "int8"),
        ("q4", "int4"),
        ("fp4", "int4"),
        ("Q8", "int8"),
        ("fp8", "int8"),
        ("nvfp4", "nvfp4"),
    ],
)
def test_a_kind_has_other_names_too(text, kind):
    assert canonical_kind(text) == kind


@pytest.mark.parametrize("text", ["q4_0", "q4_K_M", "int5", "4", "x" * 500])
def test_other_kinds_are_refused_in_ollamas_words(text):
    with pytest.raises(BadRequest) as refused:
        canonical_kind(text)
    assert refused.value.message == (
        f'unsupported quantize type "{text[:40]}": supported types are int4, int8, mxfp4, mxfp8, nvfp4'
    )


def test_a_model_becomes_a_quantised_one(library, conversions, tmp_path):
    parent = make(library, tmp_path / "folder", parameters={"seed": 1}, system="S", licenses=("MIT",))
    statuses: list[str] = []

    conversion = conversions(CreateSpec(named("small"), from_="demo", licenses=("MIT", "more")))
    order = decode((conversion.folder / ORDER_FILE).read_bytes(), ConversionOrder)
    work(conversion)
    model = conversion.finish(statuses.append)
    conversion.close()

    assert (order.kind, order.has_adapter) == ("int4", False)
    assert library.get(named("small")) == model
    assert model.facts.quantization_level == "int4"
    assert (model.parameters, model.system, model.licenses) == ({"seed": 1}, "S", ("MIT", "more"))
    assert model.parent_model == "demo:latest"
    assert model.recipe == Recipe(
        kind="int4",
        mode="affine",
        bits=4,
        group_size=64,
        layers={"int8": ("lm_head",)},
        source=f"sha256:{parent.digest}",
    )
    assert statuses[-2:] == ["writing manifest", "success"]
    assert any(status.startswith("creating new layer") for status in statuses[:3])
    assert library.get(named("demo")) == parent
    assert library.view(model).joinpath("tokenizer.json").exists()
    assert left_over(library) == []


def test_what_is_made_from_it_keeps_its_recipe(library, conversions, tmp_path):
    make(library, tmp_path / "folder")
    conversion = conversions(CreateSpec(named("small"), from_="demo"))
    work(conversion)
    made = conversion.finish(ignore)
    library.copy(named("small"), named("copy"))

    assert library.get(named("copy")).recipe == made.recipe
    assert library.get(named("demo")).recipe is None


def test_uploaded_files_are_converted_before_they_are_a_model(library, conversions, tmp_path):
    files = uploaded(library, write_model(tmp_path / "folder"))

    conversion = conversions(CreateSpec(named("small"), files=files))
    work(conversion)
    model = conversion.finish(ignore)

    assert [found.name for found in library.list()] == [named("small")]
    assert model.recipe.source.startswith("sha256:")


def test_a_model_that_is_converted_in_its_own_place_leaves_no_old_weights(library, conversions, tmp_path):
    parent = make(library, tmp_path / "folder")
    (weights,) = (layer.digest for layer in parent.manifest.files if layer.name == "model.safetensors")

    conversion = conversions(CreateSpec(named("demo"), from_="demo"))
    work(conversion, embed=numpy.ones((16, 8), numpy.float32))
    conversion.finish(ignore)

    assert not library.blobs.has(weights)


def test_the_source_stays_while_it_is_needed(library, conversions, tmp_path):
    make(library, tmp_path / "folder")
    conversion = conversions(CreateSpec(named("small"), from_="demo"))

    library.delete(named("demo"))
    library.collect(0)
    work(conversion)

    assert conversion.finish(ignore).name == named("small")


def test_a_runner_that_made_no_model_makes_none(library, conversions, tmp_path):
    make(library, tmp_path / "folder")
    conversion = conversions(CreateSpec(named("small"), from_="demo"))
    with pytest.raises(LoadFailed):
        conversion.finish(ignore)
    work(conversion)
    (conversion.folder / OUTPUT_FOLDER / "model.safetensors").write_bytes(b"no weights")

    with pytest.raises(InvalidModelFiles, match=r"model\.safetensors"):
        conversion.finish(ignore)
    conversion.close()

    assert [model.name for model in library.list()] == [named("demo")]
    assert left_over(library) == []


def test_what_is_quantised_already_is_refused(library, conversions, tmp_path):
    config = CONFIG | {"quantization": {"group_size": 64, "bits": 4}}
    make(library, write_model(tmp_path / "folder", config=config))

    with pytest.raises(Unsupported, match=r"quantised already \(int4\)"):
        conversions(CreateSpec(named("small"), from_="demo"))
    adapter = upload_adapter(library, tmp_path / "adapter")
    with pytest.raises(Unsupported, match="An adapter is added to the weights"):
        conversions(CreateSpec(named("small"), from_="demo"), ConversionWish("", adapter))


def test_packed_weights_are_known_without_settings_too(library, conversions, tmp_path):
    folder = write_model(tmp_path / "folder")
    save_file({"embed.weight": numpy.zeros((16, 8), numpy.uint32)}, folder / "model.safetensors")
    make(library, folder)

    with pytest.raises(Unsupported, match="quantised already"):
        conversions(CreateSpec(named("small"), from_="demo"))


def test_only_models_of_text_are_converted(library, conversions, tmp_path):
    folder = write_model(tmp_path / "folder", config=CONFIG | {"architectures": ["BertModel"], "model_type": "bert"})
    (folder / "modules.json").write_text("[]")
    make(library, folder)

    with pytest.raises(Unsupported, match="Only models that make text"):
        conversions(CreateSpec(named("small"), from_="demo"))


def test_errors_of_creating_come_before_any_work(library, conversions, tmp_path):
    make(library, tmp_path / "folder")
    wrong: list[tuple[CreateSpec, type[PaddockError]]] = [
        (CreateSpec(named("x"), from_="nobody"), NotFound),
        (CreateSpec(named("x")), BadRequest),
        (CreateSpec(named("x"), from_="demo", parameters={"warmth": 1}), BadRequest),
        (CreateSpec(named("x"), from_="demo", template="{{ .Prompt }}"), Unsupported),
    ]
    for spec, error in wrong:
        with pytest.raises(error):
            conversions(spec)
    assert left_over(library) == []


def test_too_little_room_is_told_before_any_work(library, conversions, tmp_path, monkeypatch):
    make(library, tmp_path / "folder")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("paddock.store.conversion.shutil.disk_usage", lambda _: usage._replace(free=100))

    with pytest.raises(StoreFull, match=r"\d+ bytes are short"):
        conversions(CreateSpec(named("small"), from_="demo"))


def test_an_adapter_lies_beside_the_source(library, conversions, tmp_path):
    make(library, tmp_path / "folder")
    files = upload_adapter(library, tmp_path / "adapter")

    conversion = conversions(CreateSpec(named("tuned"), from_="demo"), ConversionWish("", files))

    assert {path.name for path in (conversion.folder / ADAPTER_FOLDER).iterdir()} == set(files)
    assert conversion.adapter_bytes == 4 * (16 + 32)
    work(conversion)
    recipe = conversion.finish(ignore).recipe
    assert (recipe.adapter, recipe.kind) == (files["adapters.safetensors"], "")


def test_an_adapter_for_another_model_is_refused_before_any_work(library, conversions, tmp_path):
    make(library, tmp_path / "folder")
    files = upload_adapter(library, tmp_path / "adapter", rows=12)

    with pytest.raises(InvalidModelFiles, match=r"for embed it has the shape \[12, 8\] in place of \[16, 8\]"):
        conversions(CreateSpec(named("tuned"), from_="demo"), ConversionWish("", files))


@pytest.mark.parametrize("name", ["../adapters.safetensors", "a/adapters.safetensors", "adapters.bin", "lora.json"])
def test_files_that_are_no_adapters_are_refused(library, conversions, tmp_path, name):
    make(library, tmp_path / "folder")
    files = upload_adapter(library, tmp_path / "adapter")

    with pytest.raises(InvalidModelFiles):
        conversions(
            CreateSpec(named("x"), from_="demo"), ConversionWish("", files | {name: next(iter(files.values()))})
        )
    assert left_over(library) == []


def test_an_adapter_that_was_not_uploaded_is_not_found(library, conversions, tmp_path):
    make(library, tmp_path / "folder")

    with pytest.raises(NotFound, match="blob"):
        conversions(
            CreateSpec(named("x"), from_="demo"), ConversionWish("", {"adapter_config.json": "sha256:" + "0" * 64})
        )


def test_folders_of_dead_servers_are_swept_and_those_at_work_are_not(library, conversions, tmp_path):
    make(library, tmp_path / "folder")
    conversion = conversions(CreateSpec(named("small"), from_="demo"))
    dead = library.root / FOLDER / "0123456789abcdef"
    dead.mkdir()
    (dead / "lock").touch()
    (library.root / FOLDER / "fedcba9876543210" / OUTPUT_FOLDER).mkdir(parents=True)

    sweep_conversions(library.root)

    assert left_over(library) == [conversion.folder]
    assert (conversion.folder / SOURCE_FOLDER / "config.json").exists()
