"""What a model is made of: each tensor in one part, and as many bytes loaded as memory is reckoned with."""

from __future__ import annotations

import numpy
import pytest
from safetensors.numpy import save_file

from paddock import demo
from paddock.store.components import components
from paddock.store.facts import read_facts
from paddock.store.library import Library
from paddock.store.model_files import model_files
from tests.store.making import CONFIG, derive, make, write_model

NAMES = {
    "text": ("model.language_model.layers.0.self_attn.q_proj.weight", "model.norm.weight"),
    "embeddings": ("model.language_model.embed_tokens.weight", "lm_head.weight"),
    "vision": ("model.visual.patch_embed.proj.weight", "vision_tower.embeddings.weight", "multi_modal_projector.a"),
    "audio": ("model.audio_tower.conv1.weight",),
    "prediction": ("mtp.layers.0.input_proj.weight",),
}


@pytest.fixture
def folder(tmp_path):
    folder = write_model(tmp_path / "model")
    tensors = {name: numpy.zeros((len(part), 4), numpy.float16) for part, names in NAMES.items() for name in names}
    save_file(tensors, folder / "model.safetensors")
    return folder


def found_in(folder):
    files = model_files(folder)
    return {part.name: part for part in components(files, read_facts(files))}


def test_every_tensor_is_in_one_part(folder):
    parts = found_in(folder)
    assert {name: part.parameter_count for name, part in parts.items()} == {
        name: 4 * len(name) * len(tensors) for name, tensors in NAMES.items()
    }
    assert all(part.size_bytes == 2 * part.parameter_count for part in parts.values())
    assert {part.quantization_level for part in parts.values()} == {"F16"}


def test_as_much_is_loaded_as_the_engine_keeps(folder):
    parts = found_in(folder)
    assert {name for name, part in parts.items() if not part.loaded_bytes} == {"vision", "audio", "prediction"}
    assert sum(part.loaded_bytes for part in parts.values()) == read_facts(model_files(folder)).weights_bytes


def test_the_largest_part_is_first(folder):
    sizes = [part.size_bytes for part in components(model_files(folder), read_facts(model_files(folder)))]
    assert sizes == sorted(sizes, reverse=True)


def test_a_tower_beside_packed_weights_has_its_own_format(tmp_path):
    folder = write_model(tmp_path / "model", config=CONFIG | {"quantization": {"bits": 4, "group_size": 32}})
    tensors = {
        "model.layers.0.q_proj.weight": numpy.zeros((8, 4), numpy.uint32),
        "model.layers.0.q_proj.scales": numpy.zeros((8, 1), numpy.float16),
        "model.layers.0.q_proj.biases": numpy.zeros((8, 1), numpy.float16),
        "vision_tower.proj.weight": numpy.zeros((8, 8), numpy.float32),
    }
    save_file(tensors, folder / "model.safetensors")
    parts = found_in(folder)
    assert (parts["text"].quantization_level, parts["text"].parameter_count) == ("int4", 8 * 32)
    assert (parts["vision"].quantization_level, parts["vision"].parameter_count) == ("F32", 64)


def test_a_draft_model_is_the_last_part(tmp_path):
    library = Library(tmp_path / "models")
    make(library, write_model(tmp_path / "big", fill=1.0), "big")
    make(library, write_model(tmp_path / "small", fill=2.0), "small")
    model = derive(library, "quick", "big", draft="small")
    *_, last = components(library.files(model), model.facts)
    assert (last.name, last.size_bytes) == ("draft", library.get(model.name).facts.draft.weights_bytes)


def test_the_parts_of_an_image_model_are_its_folders():
    files = model_files(demo.image_model_folder())
    facts = read_facts(files)
    parts = {part.name: part for part in components(files, facts)}
    assert set(parts) == {"text encoder", "transformer", "VAE"}
    assert sum(part.loaded_bytes for part in parts.values()) == facts.weights_bytes
    assert sum(part.parameter_count for part in parts.values()) == facts.parameter_count
