import json

import pytest

from paddock.errors import InvalidModelFiles
from paddock.vetting.code import check_modules, check_references, is_native, may_hold_code
from paddock.vetting.model_config import check_config, read_config
from paddock.vetting.settings import check_settings

LLAMA = {"model_type": "llama", "hidden_size": 8}


@pytest.mark.parametrize(
    "name",
    ["a.py", "A.PY", "x.bin", "x.pt", "x.pth", "x.ckpt", "x.pkl", "x.npz", "x.joblib", "lora/x.bin", "x.gguf", "x.so"],
)
def test_names_of_code_are_known(name):
    assert may_hold_code(name)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "merges.txt", "a.py.json", "tokenizer.model"])
def test_ordinary_names_are_not_code(name):
    assert not may_hold_code(name)


@pytest.mark.parametrize("key", ["model_file", "custom_pipelines", "auto_map", "modules_to_import"])
def test_keys_that_name_code_are_found_in_any_depth(key):
    for settings in ({key: "x"}, {"a": {key: "x"}}, {"a": [{"b": {key: None}}]}):
        with pytest.raises(InvalidModelFiles, match=key):
            check_references(settings, "config.json")


def test_a_map_is_passed_over_only_where_the_engine_has_the_architecture():
    assert is_native("llama")
    assert not is_native("no_such_thing")
    assert not is_native("../llama")
    assert not is_native(None)
    check_config(LLAMA | {"auto_map": {"AutoModel": "x.Y"}})
    with pytest.raises(InvalidModelFiles, match="remove that key"):
        check_config({"model_type": "no_such_thing", "auto_map": {"AutoModel": "x.Y"}})


def test_standard_modules_pass_and_others_do_not():
    check_modules([{"idx": 0, "type": "sentence_transformers.models.Transformer"}])
    for modules in ([{"type": "evil.Model"}], [{"idx": 0}], {"type": "x"}, [1], [{"type": 5}]):
        with pytest.raises(InvalidModelFiles, match="modules"):
            check_modules(modules)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 1_025),
        ("num_hidden_layers", -1),
        ("n_layer", 10**9),
        ("hidden_size", 65_537),
        ("vocab_size", 2_000_001),
        ("vocab_size", 1e12),
        ("num_experts", 4_097),
        ("max_position_embeddings", 2**31),
    ],
)
def test_absurd_sizes_are_refused_in_every_part(key, value):
    for config in (LLAMA | {key: value}, {"model_type": "x", "text_config": {key: value}}):
        with pytest.raises(InvalidModelFiles, match=key):
            check_config(config)


def test_sizes_may_be_missing_or_null():
    check_config(LLAMA | {"num_hidden_layers": None, "n_ctx": 0})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_are_finite(tmp_path, number):
    (tmp_path / "config.json").write_text(f'{{"a": [{number}]}}')
    with pytest.raises(InvalidModelFiles, match="not finite"):
        read_config(tmp_path / "config.json")


def test_settings_and_templates_beside_the_config_are_looked_at(tmp_path):
    files = {}
    for name, content in {
        "tokenizer_config.json": {"chat_template": [{"name": "default", "template": "x" * 300_000}]},
        "chat_template.jinja": "x" * 300_000,
        "sub/tokenizer_config.json": {"auto_map": {}},
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        files[name] = path

    for name, path in files.items():
        with pytest.raises(InvalidModelFiles):
            check_settings({name: path})
