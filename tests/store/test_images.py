"""Image models in the store: what they are said to be, and which folders are refused."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from paddock.errors import BadRequest, InvalidModelFiles, PaddockError, UnsupportedModel
from paddock.runner.engines.image.families import Edits, Guidance, make_family
from paddock.runner.engines.image.folder import read_folder
from paddock.runner.engines.image.parts import Parts
from paddock.store.create import CreateSpec, create, import_folder
from paddock.store.facts import ModelFacts, model_info, read_facts, tensors
from paddock.store.images import ImageFacts
from paddock.store.library import Library
from paddock.store.model_files import check_files, model_files
from tests.runner.engines.image.tiny_folders import edit_config, make_tiny_klein, make_tiny_z_image
from tests.store.making import ignore, named

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
INDEX = "transformer/diffusion_pytorch_model.safetensors.index.json"


@pytest.fixture(scope="module")
def z_image(tmp_path_factory):
    return make_tiny_z_image(tmp_path_factory.mktemp("z-image"), steps=3, width=32, height=24)


@pytest.fixture(scope="module")
def klein(tmp_path_factory):
    return make_tiny_klein(tmp_path_factory.mktemp("klein"))


@pytest.fixture
def folder(z_image, tmp_path):
    return shutil.copytree(z_image, tmp_path / "model")


def facts_of(folder: Path) -> ModelFacts:
    return check_files(model_files(folder))


def image_of(folder: Path) -> ImageFacts:
    found = facts_of(folder).image
    assert found is not None
    return found


# ---- what they are ----


def test_the_facts_of_an_image_model_are_of_all_its_parts(z_image):
    facts = facts_of(z_image)

    found = [tensor for path in z_image.rglob("*.safetensors") for tensor in mx.load(str(path)).values()]
    assert (facts.engine, facts.family, facts.capabilities) == ("image", "ZImagePipeline", ("image", "vision"))
    assert facts.parameter_count == sum(tensor.size for tensor in found)
    assert facts.parameter_size == "608K"
    assert (facts.quantization_level, facts.context_length) == ("F32", 254)
    assert facts.image is not None
    assert (facts.image.width, facts.image.height, facts.image.steps) == (32, 24, 3)


@pytest.mark.parametrize("is_distilled", [True, False])
def test_requests_to_flux2_keep_to_what_the_engine_says(tmp_path, is_distilled):
    assert_told_as_by_the_engine(make_tiny_klein(tmp_path, is_distilled=is_distilled))


@pytest.mark.parametrize("shift", [3.0, 6.0])
def test_requests_to_z_image_keep_to_what_the_engine_says(folder, shift):
    edit_config(folder, "scheduler/scheduler_config.json", shift=shift)
    edit_config(folder, "model_index.json", paddock={"width": 64} if shift == 3.0 else None)

    assert_told_as_by_the_engine(folder)


def assert_told_as_by_the_engine(folder: Path) -> None:
    image, family = image_of(folder), make_family(read_folder(folder)).facts

    assert (image.width, image.height, image.steps) == (family.width, family.height, family.steps)
    assert image.guidance == family.guidance
    assert image.guides == (family.guidance_kind is not Guidance.NONE)
    assert (image.cell, image.side_most) == (family.side_multiple, family.side_most)
    assert (image.edits == "start") == (family.edits is Edits.START)
    assert (image.references_most, image.text_tokens) == (family.references_most, family.text_tokens)


@pytest.mark.parametrize("name", ["z_image", "klein"])
def test_the_sizes_of_the_parts_are_what_the_engine_holds(request, name):
    folder = request.getfixturevalue(name)
    image, checked = image_of(folder), read_folder(folder)

    parts = Parts(checked, make_family(checked), staged=False)
    parts.load(lambda _progress: None)

    held = (image.text_encoder, image.transformer, image.autoencoder)
    assert sum(part.float32_bytes for part in held) == parts.weights_bytes
    assert len(parts.text_encoder().model.layers) == image.text_layers


def test_packed_parts_are_told_as_they_are_packed(folder):
    path = folder / TRANSFORMER
    packed: dict[str, mx.array] = {}
    for name, tensor in mx.load(str(path)).items():
        layer = name.removesuffix(".weight")
        if tensor.ndim == 2 and layer != name and tensor.shape[-1] % 32 == 0:
            packed |= zip((name, f"{layer}.scales", f"{layer}.biases"), mx.quantize(tensor, 32, 4), strict=True)
        else:
            packed[name] = tensor
    mx.eval(packed)
    dense_bytes = image_of(folder).transformer.float32_bytes
    mx.save_safetensors(str(path), packed)
    with pytest.raises(InvalidModelFiles, match=r"transformer/config.json does not say how .* are packed"):
        facts_of(folder)
    edit_config(folder, "transformer/config.json", quantization={"bits": 4, "group_size": 32})

    facts = facts_of(folder)

    assert facts.parameter_size == "608K"
    assert facts.quantization_level == "int4"
    assert facts.image is not None
    assert facts.image.transformer.dense_bytes == dense_bytes
    assert facts.image.transformer.float32_bytes < dense_bytes / 2


def test_show_tells_of_an_image_model_what_a_request_gets(z_image):
    files = model_files(z_image)

    info = model_info(files)

    assert info["general.architecture"] == "ZImagePipeline"
    assert info["ZImagePipeline.width"] == 32
    names = [tensor["name"] for tensor in tensors(files)]
    assert "transformer/x_pad_token" in names
    assert len(names) == len(set(names))


# ---- in the store ----


@pytest.mark.parametrize("name", ["z_image", "klein"])
def test_a_folder_becomes_a_model_and_a_folder_of_links_again(request, tmp_path, name):
    folder, library = request.getfixturevalue(name), Library(tmp_path)

    made = import_folder(library, named("painter"), folder)

    found = library.get(named("painter"))
    view = library.view(found)
    assert found.facts == made.facts == facts_of(folder)
    files = model_files(folder)
    assert {path.relative_to(view).as_posix() for path in view.rglob("*") if path.is_file()} == files.keys()
    assert all((view / file).read_bytes() == path.read_bytes() for file, path in files.items())
    assert read_folder(view).pipeline == found.facts.family


def test_uploaded_files_keep_their_folders(z_image, tmp_path):
    library = Library(tmp_path)
    digests = {name: library.blobs.add_file(path).digest for name, path in model_files(z_image).items()}

    made = create(library, CreateSpec(named("painter"), files=digests), ignore)

    assert {str(layer.name) for layer in made.manifest.files} == digests.keys()
    assert create(library, CreateSpec(named("copy"), from_="painter"), ignore).facts == made.facts


@pytest.mark.parametrize(
    "said", [{"system": "Be brief."}, {"template": "{{ messages }}"}, {"messages": ({"role": "user", "content": "x"},)}]
)
def test_what_is_for_text_is_refused_of_an_image_model(z_image, tmp_path, said):
    with pytest.raises(BadRequest, match="makes pictures"):
        import_folder(Library(tmp_path), named("painter"), z_image, CreateSpec(named("painter"), **said))


def test_files_that_are_no_parts_stay_behind_when_a_folder_is_imported(folder):
    for name in ("README.md", "config.json", "transformer/notes.md", "tokenizer/weights.bin"):
        (folder / name).write_text("{}")

    assert facts_of(folder).engine == "image"
    assert "config.json" not in model_files(folder)


# ---- what is refused ----


def without(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()

    return change


def written(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def edited(name: str, **changes: object) -> Callable[[Path], None]:
    return lambda folder: edit_config(folder, name, **changes)


def truncated(folder: Path) -> None:
    path = folder / TRANSFORMER
    path.write_bytes(path.read_bytes()[:-100])


def overlapping(folder: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    raw = json.dumps({"a": entry, "b": entry}).encode()
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + b"1234")


def twice(folder: Path) -> None:
    shutil.copy(folder / TRANSFORMER, folder / "transformer" / "diffusion_pytorch_model.fp16.safetensors")


def indexed(weight_map: dict[str, str]) -> Callable[[Path], None]:
    return written(INDEX, json.dumps({"weight_map": weight_map}))


REFUSED: list[tuple[str, Callable[[Path], None], str]] = [
    ("no text encoder", without("text_encoder"), "text_encoder/config.json is missing"),
    ("no config", without("vae/config.json"), "vae/config.json is missing"),
    ("no weights", without(TRANSFORMER), "no weights of the part transformer"),
    ("no tokenizer", without("tokenizer/tokenizer.json"), "tokenizer/tokenizer.json is missing"),
    ("no template", edited("tokenizer/tokenizer_config.json", chat_template=None), "chat_template.jinja is missing"),
    ("no scheduler", without("scheduler"), "scheduler/scheduler_config.json is missing"),
    ("a config that is no JSON", written("vae/config.json", "{"), "vae/config.json is not valid JSON"),
    ("truncated weights", truncated, f"{TRANSFORMER} is truncated"),
    ("overlapping tensors", overlapping, "vae/diffusion_pytorch_model.safetensors has the tensor b overlapping"),
    ("weights twice", twice, "in transformer hold a tensor of the same name"),
    ("weights of another name", written("vae/lora.safetensors", ""), "vae/lora.safetensors is not a part"),
    ("an index without files", indexed({"a": "diffusion_pytorch_model-1.safetensors"}), "-1.safetensors is missing"),
    ("an index that leads away", indexed({"a": "../vae/model.safetensors"}), "no file of weights"),
    ("an index of other tensors", indexed({"a": Path(TRANSFORMER).name}), f"{TRANSFORMER} lacks a tensor"),
    ("a size that no model has", edited("transformer/config.json", n_layers=9999), "gives a n_layers of 9999"),
    ("a size that is none", edited("transformer/config.json", dim="large"), "transformer/config.json gives no proper"),
    ("too many stages", edited("vae/config.json", block_out_channels=[8] * 99), "no proper block_out_channels"),
    ("far larger than its weights", edited("transformer/config.json", dim=9_000_000), "larger than its weights"),
    ("texts of another width", edited("transformer/config.json", cap_feat_dim=33), "texts of another width"),
    ("other latents", edited("vae/config.json", latent_channels=8), "expects other latents"),
    ("too few layers", edited("text_encoder/config.json", num_hidden_layers=None), "text_encoder/config.json gives no"),
    (
        "defaults beyond the model",
        edited("model_index.json", paddock={"width": 33}),
        "model_index.json gives a default",
    ),
    ("code beside an index", edited("model_index.json", vae=["vae_code", "AutoencoderKL"]), "names code to run"),
    ("code by a key", edited("vae/config.json", custom_pipeline="mine"), "vae/config.json names code to run"),
    ("a tokenizer's code", edited("tokenizer/tokenizer_config.json", auto_map={"A": "b.C"}), "names code to run"),
]


@pytest.mark.parametrize(("change", "words"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED])
def test_a_folder_that_is_no_whole_model_is_refused_by_its_file(folder, change, words):
    change(folder)

    with pytest.raises(InvalidModelFiles) as caught:
        facts_of(folder)

    assert_one_sentence(caught.value, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edited("model_index.json", _class_name="FluxPipeline"), "pipeline FluxPipeline in model_index.json"),
        (edited("model_index.json", _class_name=None), "pipeline None"),
        (edited("model_index.json", transformer=["diffusers", "Other"]), "Other as the part transformer"),
        (edited("model_index.json", scheduler=["diffusers", "DDIMScheduler"]), "DDIMScheduler as the part scheduler"),
        (edited("model_index.json", controlnet=["diffusers", "ControlNetModel"]), "The part controlnet"),
        (edited("text_encoder/config.json", model_type="llama"), "text_encoder/config.json is not supported"),
    ],
)
def test_what_no_engine_knows_is_refused(folder, change, words):
    change(folder)

    with pytest.raises(UnsupportedModel) as caught:
        facts_of(folder)

    assert_one_sentence(caught.value, words)


def assert_one_sentence(error: PaddockError, words: str) -> None:
    assert words in error.message
    assert error.message.endswith(".")
    assert "Traceback" not in error.message


@pytest.mark.parametrize(
    "name", ["pipeline.py", "transformer/diffusion_pytorch_model.bin", "vae/weights.pt", "tokenizer/code.py"]
)
def test_files_of_code_and_pickles_are_refused_when_they_are_uploaded(z_image, tmp_path, name):
    library = Library(tmp_path)
    digests = {file: library.blobs.add_file(path).digest for file, path in model_files(z_image).items()}
    digests[name] = library.blobs.add_bytes(b"import os").digest

    with pytest.raises(InvalidModelFiles, match=f"The file {name} may hold code"):
        create(library, CreateSpec(named("painter"), files=digests), ignore)


@pytest.mark.parametrize("name", ["notes.json", "assets/picture.json", "tokenizer/model.safetensors"])
def test_files_of_no_part_are_refused_when_they_are_uploaded(z_image, name):
    files = model_files(z_image)

    with pytest.raises(InvalidModelFiles, match=f"{name} belongs to no part"):
        check_files(files | {name: files[TRANSFORMER] if name.endswith("safetensors") else files["model_index.json"]})


def test_of_several_files_of_weights_the_index_names_each(folder):
    tensors = dict(mx.load(str(folder / TRANSFORMER)))
    mx.eval(tensors)
    (folder / TRANSFORMER).unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, some in enumerate((names[::2], names[1::2]), start=1):
        file = f"diffusion_pytorch_model-{number}.safetensors"
        mx.save_safetensors(str(folder / "transformer" / file), {name: tensors[name] for name in some})
        weight_map |= dict.fromkeys(some, file)
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert facts_of(folder).parameter_size == "608K"

    mx.save_safetensors(str(folder / "transformer" / "diffusion_pytorch_model-3.safetensors"), {"more": mx.zeros(3)})

    with pytest.raises(InvalidModelFiles, match=r"-3.safetensors is not a part of the model: .* does not name it"):
        facts_of(folder)


def test_a_part_has_one_index(folder):
    indexed({name: Path(TRANSFORMER).name for name in mx.load(str(folder / TRANSFORMER))})(folder)
    assert facts_of(folder).engine == "image"

    (folder / "transformer" / "model.safetensors.index.json").write_text("{}")

    with pytest.raises(InvalidModelFiles, match="two indexes"):
        facts_of(folder)


def test_facts_are_read_again_from_what_is_stored(z_image):
    assert read_facts(model_files(z_image)) == facts_of(z_image)
