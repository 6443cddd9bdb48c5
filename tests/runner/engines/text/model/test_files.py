import json
import shutil
from pathlib import Path

import pytest

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.runner.engines.text.model.files import context_limit, end_tokens, read_config


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_whole_folder_is_accepted(folder):
    assert read_config(folder)["model_type"] == "llama"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()

    with pytest.raises(DamagedModel, match=r"config\.json is missing|no weights"):
        read_config(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_config_that_is_no_object_is_damaged(folder, content):
    (folder / "config.json").write_bytes(content)

    with pytest.raises(DamagedModel, match=r"config\.json is not (valid JSON|the description)"):
        read_config(folder)


def test_a_config_without_an_architecture_is_damaged(folder):
    edit_config(folder, model_type=None)

    with pytest.raises(DamagedModel, match="model_type"):
        read_config(folder)


@pytest.mark.parametrize("key", ["model_file", "custom_pipelines", "modules_to_import"])
def test_a_model_that_brings_code_is_refused(folder, key):
    edit_config(folder, **{key: {"AutoModel": "evil.Model"}})

    with pytest.raises(UnsupportedModel, match=f"names code to run .{key}"):
        read_config(folder)


def test_a_map_to_code_is_refused_where_the_engine_lacks_the_architecture(folder):
    edit_config(folder, auto_map={"AutoModelForCausalLM": "modeling.Model"})
    assert read_config(folder)["model_type"] == "llama"

    edit_config(folder, auto_map={"AutoModelForCausalLM": "modeling.Model"}, model_type="unheard_of")
    with pytest.raises(UnsupportedModel, match="auto_map"):
        read_config(folder)


@pytest.mark.parametrize("name", ["evil.py", "pytorch_model.bin", "lora/adapter.pt", "x.pkl", "model.npz"])
def test_a_folder_with_code_or_pickles_in_it_is_refused(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")

    with pytest.raises(UnsupportedModel, match="may hold code"):
        read_config(folder)


def test_a_shard_that_the_index_names_must_be_there(folder):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(DamagedModel, match="model-00001-of-00002"):
        read_config(folder)


@pytest.mark.parametrize("length", [0, 4, 7, 8, 100, -1, -1000])
def test_truncated_weights_are_named(folder, length):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])

    with pytest.raises(DamagedModel, match=r"model\.safetensors (is|has)"):
        read_config(folder)


def test_weights_with_a_header_that_points_beyond_the_file_are_damaged(folder):
    header = json.dumps({"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 16)

    with pytest.raises(DamagedModel, match="is truncated"):
        read_config(folder)


def test_links_to_weights_are_followed(folder, tmp_path):
    weights = (folder / "model.safetensors").rename(tmp_path / "blob")
    (folder / "model.safetensors").symlink_to(weights)

    assert read_config(folder)


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"text_config": {"max_position_embeddings": 128}}, 128),
        ({"n_positions": 1024}, 1024),
        ({"model_type": "mamba"}, None),
        (
            {
                "max_position_embeddings": 32768,
                "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
            },
            131072,
        ),
        ({"model_type": "gemma2", "max_position_embeddings": 8192, "sliding_window": 4096}, 4096),
        ({"model_type": "mistral", "max_position_embeddings": 32768, "sliding_window": 4096}, 4096),
        ({"model_type": "gemma2", "n_ctx": 9, "sliding_window": 4, "layer_types": ["sliding_attention"]}, 4),
        ({"model_type": "mixtral", "n_ctx": 9, "sliding_window": 4, "layer_types": ["full_attention"]}, 9),
        ({"model_type": "mistral", "n_ctx": 9, "sliding_window": 4, "layer_types": ["sliding_attention"]}, 9),
        ({"model_type": "mistral", "max_position_embeddings": 32768, "sliding_window": None}, 32768),
        ({"model_type": "qwen2", "max_position_embeddings": 32768, "sliding_window": 4096}, 32768),
        (
            {
                "model_type": "qwen2",
                "max_position_embeddings": 32768,
                "sliding_window": 4096,
                "use_sliding_window": True,
            },
            4096,
        ),
        ({"model_type": "gemma3_text", "max_position_embeddings": 8192, "sliding_window": 512}, 8192),
    ],
)
def test_the_context_limit_is_the_models_own(config, limit):
    assert context_limit(config) == limit


def test_end_tokens_come_from_both_configs(folder):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 8]}))

    assert end_tokens(folder, {"eos_token_id": 5, "text_config": {"eos_token_id": [6]}}) == {5, 6, 7, 8}
    assert end_tokens(folder, {"eos_token_id": None}) == {7, 8}
