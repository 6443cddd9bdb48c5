"""What the small files of an image model may say."""

import json
from pathlib import Path

import pytest

from paddock.errors import InvalidModelFiles, UnsupportedModel
from paddock.vetting.image_folder import read_image_configs
from paddock.vetting.weights import check_part_weights
from tests.store.making import entry, safetensors_bytes

INDEX = {
    "_class_name": "ZImagePipeline",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen3Model"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"],
    "transformer": ["diffusers", "ZImageTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
CONFIGS = ("text_encoder/config.json", "transformer/config.json", "vae/config.json", "scheduler/scheduler_config.json")


def files_of(folder: Path, **changes: object) -> dict[str, Path]:
    """The configs of a folder, one file each; `changes` are to the index, and None takes a key away."""
    index = {key: value for key, value in (INDEX | changes).items() if value is not None}
    contents = {"model_index.json": index, **{name: {"sample_size": 32} for name in CONFIGS}}
    files = {}
    for name, content in contents.items():
        files[name] = folder / name
        files[name].parent.mkdir(exist_ok=True)
        files[name].write_text(json.dumps(content))
    return files


def test_configs_are_read_by_part(tmp_path):
    found = read_image_configs(files_of(tmp_path))

    assert found.pipeline == "ZImagePipeline"
    assert set(found.configs) == {"text_encoder", "transformer", "vae", "scheduler"}


def test_entries_that_name_no_class_mean_nothing(tmp_path):
    changes = {"_diffusers_version": "0.36.0", "is_distilled": True, "image_encoder": [None, None], "paddock": {"a": 1}}

    assert read_image_configs(files_of(tmp_path, **changes)).index["is_distilled"]


@pytest.mark.parametrize("library", ["pipeline", "diffusers_modules.local.mine", ""])
def test_a_class_of_another_library_is_code(tmp_path, library):
    with pytest.raises(InvalidModelFiles, match=r"model_index.json names code to run for its part transformer"):
        read_image_configs(files_of(tmp_path, transformer=[library, "ZImageTransformer2DModel"]))


@pytest.mark.parametrize(
    "changes", [{"_class_name": "StableDiffusionPipeline"}, {"vae": None}, {"safety_checker": ["diffusers", "Checker"]}]
)
def test_pipelines_and_parts_that_are_not_known_are_not_supported(tmp_path, changes):
    with pytest.raises(UnsupportedModel, match=r"model_index.json"):
        read_image_configs(files_of(tmp_path, **changes))


@pytest.mark.parametrize("name", ["unet/model.bin", "text_encoder/modeling.py", "vae/a.ckpt"])
def test_a_file_of_code_is_named(tmp_path, name):
    with pytest.raises(InvalidModelFiles, match=name):
        read_image_configs(files_of(tmp_path) | {name: tmp_path / "model_index.json"})


@pytest.mark.parametrize("size", [-(10**9), 10**9, 1e300])
def test_a_size_that_no_model_has_is_named(tmp_path, size):
    files = files_of(tmp_path)
    files["vae/config.json"].write_text(json.dumps({"deep": [{"sample_size": size}]}))

    with pytest.raises(InvalidModelFiles, match=r"vae/config.json gives a sample_size of"):
        read_image_configs(files)


def test_weights_of_a_part_are_those_in_its_folder(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(safetensors_bytes({"a": entry("F32", [1], 0, 4)}, b"1234"))
    names = ("vae/diffusion_pytorch_model.safetensors", "transformer/model.safetensors")

    found = check_part_weights(dict.fromkeys(names, path), "vae")

    assert [tensor.name for tensor in found] == ["a"]
    with pytest.raises(InvalidModelFiles, match="no weights of the part text_encoder"):
        check_part_weights(dict.fromkeys(names, path), "text_encoder")
