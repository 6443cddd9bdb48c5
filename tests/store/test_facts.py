from __future__ import annotations

import json

import numpy
import pytest
from safetensors.numpy import save_file

from paddock.errors import InvalidModelFiles
from paddock.store.facts import model_info, read_facts, recognise_engine, tensors
from paddock.store.tensors import human_count
from tests.store.making import CONFIG, write_model, write_sharded_model


def files_of(folder):
    return {path.name: path for path in folder.iterdir()}


def with_weights(folder, arrays, **config):
    write_model(folder, config=CONFIG | config)
    save_file(arrays, folder / "model.safetensors")
    return files_of(folder)


def test_the_facts_of_a_plain_model(tmp_path):
    facts = read_facts(files_of(write_model(tmp_path)))
    assert (facts.engine, facts.format, facts.family, facts.families) == ("text", "safetensors", "llama", ("llama",))
    assert (facts.parameter_count, facts.parameter_size, facts.weights_bytes) == (128, "128", 512)
    assert (facts.quantization_level, facts.context_length, facts.embedding_length) == ("F32", 64, 8)
    assert facts.capabilities == ("completion",)


def test_shards_are_counted_together(tmp_path):
    facts = read_facts(files_of(write_sharded_model(tmp_path)))
    assert (facts.parameter_count, facts.quantization_level, facts.weights_bytes) == (32, "F16", 64)


def test_packed_weights_are_counted_one_by_one(tmp_path):
    arrays = {
        "a.weight": numpy.zeros((64, 8), numpy.uint32),
        "a.scales": numpy.zeros((64, 1), numpy.float16),
        "a.biases": numpy.zeros((64, 1), numpy.float16),
        "a.bias": numpy.zeros(64, numpy.float16),
        "b.weight": numpy.zeros((64, 16), numpy.uint32),
        "b.scales": numpy.zeros((64, 1), numpy.float16),
        "norm.weight": numpy.zeros(64, numpy.float16),
    }
    quantization = {"group_size": 64, "bits": 4, "b": {"group_size": 64, "bits": 8}, "c": False}
    facts = read_facts(with_weights(tmp_path, arrays, quantization=quantization))
    assert facts.parameter_count == 64 * 64 + 64 + 64 * 64 + 64
    assert facts.quantization_level == "int4"


PACKED = {
    "a.weight": numpy.zeros((64, 8), numpy.uint32),
    "a.scales": numpy.zeros((64, 1), numpy.float16),
    "a.biases": numpy.zeros((64, 1), numpy.float16),
    "norm.weight": numpy.zeros(64, numpy.float16),
}


def test_packed_weights_have_a_size_in_float32_too(tmp_path):
    facts = read_facts(with_weights(tmp_path, PACKED, quantization={"group_size": 64, "bits": 4}))
    assert facts.float32_bytes == 64 * 8 * 4 + 2 * 64 * 4 + 64 * 4
    assert facts.dense_bytes == (64 * 64 + 64) * 4


@pytest.mark.parametrize(
    ("mode", "bits", "words", "groups"), [("mxfp4", 4, 8, 2), ("mxfp8", 8, 16, 2), ("nvfp4", 4, 8, 4)]
)
def test_numbers_packed_with_scales_of_8_bits_have_a_size_in_float32_too(tmp_path, mode, bits, words, groups):
    arrays = {
        "a.weight": numpy.zeros((64, words), numpy.uint32),
        "a.scales": numpy.zeros((64, groups), numpy.uint8),
        "norm.weight": numpy.zeros(64, numpy.float16),
    }
    facts = read_facts(
        with_weights(tmp_path, arrays, quantization={"group_size": 64 // groups, "bits": bits, "mode": mode})
    )
    assert facts.float32_bytes == 64 * words * 4 + 64 * groups + 64 * 4
    assert facts.dense_bytes == (64 * 64 + 64) * 4


def test_settings_of_one_layer_are_all_there_is_to_say_of_it(tmp_path):
    quantization = {"group_size": 32, "bits": 4, "mode": "mxfp4", "a": {"group_size": 64, "bits": 4}}
    assert read_facts(with_weights(tmp_path, PACKED, quantization=quantization)).dense_bytes == (64 * 64 + 64) * 4


def test_weights_that_are_not_packed_have_one_size_in_float32(tmp_path):
    facts = read_facts(with_weights(tmp_path, {"a.weight": numpy.zeros((64, 8), numpy.float16)}))
    assert facts.dense_bytes == facts.float32_bytes == 64 * 8 * 4


@pytest.mark.parametrize(
    ("left_out", "added", "quantization"),
    [
        ("a.biases", {}, {"group_size": 64, "bits": 4}),
        ("a.biases", {}, {"group_size": 32, "bits": 4, "mode": "mxfp4"}),
        ("", {}, {"group_size": 64, "bits": 4, "a": {"bits": 4, "mode": "nvfp4"}}),
        ("", {}, {"group_size": 64}),
        ("", {"b_blocks": numpy.zeros((4, 4), numpy.uint8)}, {"group_size": 64, "bits": 4}),
    ],
)
def test_weights_packed_in_another_way_have_no_known_size_in_float32(tmp_path, left_out, added, quantization):
    arrays = {name: array for name, array in PACKED.items() if name != left_out} | added
    assert read_facts(with_weights(tmp_path, arrays, quantization=quantization)).dense_bytes == 0


@pytest.mark.parametrize(
    ("quantization", "level"),
    [
        ({"bits": 8, "group_size": 64}, "int8"),
        ({"bits": 4, "group_size": 32, "mode": "mxfp4"}, "mxfp4"),
        ({"bits": 4, "mode": "affine"}, "int4"),
        ({}, "F32"),
        (None, "F32"),
        ("garbage", "F32"),
    ],
)
def test_the_quantisation_is_named(tmp_path, quantization, level):
    assert (
        read_facts(
            with_weights(tmp_path, {"a": numpy.zeros(4, numpy.float32)}, quantization=quantization)
        ).quantization_level
        == level
    )


def test_the_commonest_number_format_by_bytes_names_the_level(tmp_path):
    arrays = {
        "a": numpy.zeros(100, numpy.float16),
        "b": numpy.zeros(10, numpy.float32),
        "ids": numpy.zeros(1000, numpy.int64),
    }
    assert read_facts(with_weights(tmp_path, arrays)).quantization_level == "F16"


def test_model_info_names_sizes_below_the_architecture(tmp_path):
    files = files_of(write_model(tmp_path))
    assert model_info(files) == {
        "general.architecture": "llama",
        "general.parameter_count": 128,
        "llama.context_length": 64,
        "llama.embedding_length": 8,
        "llama.block_count": 1,
        "llama.attention.head_count": 2,
        "llama.vocab_size": 16,
    }


def test_the_language_part_of_a_model_with_towers_goes_first(tmp_path):
    config = {
        "text_config": {"model_type": "gemma3_text", "hidden_size": 32, "max_position_embeddings": 128},
        "hidden_size": 8,
    }
    facts = read_facts(files_of(write_model(tmp_path, config=CONFIG | config)))
    assert (facts.family, facts.embedding_length, facts.context_length) == ("gemma3_text", 32, 128)


def test_older_words_for_sizes_are_understood(tmp_path):
    facts = read_facts(
        files_of(write_model(tmp_path, config={"model_type": "gpt2", "n_positions": 1024, "n_embd": 768}))
    )
    assert (facts.context_length, facts.embedding_length) == (1024, 768)


def test_tensors_are_listed_by_name(tmp_path):
    arrays = {"b": numpy.zeros((2, 3), numpy.float32), "a": numpy.zeros(5, numpy.float16)}
    assert tensors(with_weights(tmp_path, arrays)) == [
        {"name": "a", "type": "F16", "shape": [5]},
        {"name": "b", "type": "F32", "shape": [2, 3]},
    ]


def test_the_kind_is_recognised_from_the_names_of_files():
    assert recognise_engine(["config.json", "model.safetensors"]) == "text"
    assert recognise_engine(["config.json", "modules.json"]) == "embedding"
    assert recognise_engine(["model_index.json", "transformer/config.json"]) == "image"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"), (999, "999"), (1_000, "1K"), (1_300_000, "1.30M"), (494_032_768, "494.03M"), (2_000_000, "2M"),
        (7_615_616_512, "7.6B"),
        (70_000_000_000, "70B"), (1_500_000_000_000, "1.5T"),
    ],
)  # fmt: skip
def test_counts_are_written_as_ollama_does(count, text):
    assert human_count(count) == text


@pytest.mark.parametrize(
    "config",
    [
        b"", b"[]", b"null", b'"x"', b"{", b"\xff\xfe\xff", b"[" * 100_000, b'{"a":' * 100_000, b"{}",
        b'{"model_type": 7}',
        b'{"model_type":"llama","x":' + b"[" * 20 + b"]" * 20 + b"}",
        b'{"model_type":"llama"}' + b" " * 1024 * 1024,
        json.dumps(CONFIG | {"num_hidden_layers": 1_000_000}).encode(),
        json.dumps(CONFIG | {"vocab_size": 10**12}).encode(),
        json.dumps(CONFIG | {"text_config": {"hidden_size": 10**9}}).encode(),
        json.dumps(CONFIG | {"model_file": "evil.py"}).encode(),
        b'{"model_type":"llama","vocab_size":' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_a_hostile_config_is_refused_in_one_sentence(tmp_path, config):
    write_model(tmp_path)
    (tmp_path / "config.json").write_bytes(config)
    with pytest.raises(InvalidModelFiles, match=r"^The file config\.json .*\.$"):
        read_facts(files_of(tmp_path))


def test_strange_values_where_sizes_should_be_count_as_nothing(tmp_path):
    config = CONFIG | {
        "hidden_size": "8",
        "max_position_embeddings": True,
        "num_hidden_layers": None,
        "vocab_size": 1.5,
    }
    facts = read_facts(files_of(write_model(tmp_path, config=config)))
    assert (facts.embedding_length, facts.context_length) == (0, 0)
