"""Whether the files of an image model are a whole one: every part with its config and its weights, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paddock.errors import InvalidModelFiles
from paddock.store.facts import ModelFacts, read_facts
from paddock.vetting.image_folder import (
    AUTOENCODER,
    INDEX_FILE,
    PARTS,
    TEXT_ENCODER,
    TOKENIZER,
    TRANSFORMER,
    WEIGHTED_PARTS,
    read_image_configs,
)
from paddock.vetting.model_config import read_config
from paddock.vetting.settings import MAX_SETTINGS_BYTES, TOKENIZER_SETTINGS
from paddock.vetting.tensor_layers import FOLDER
from paddock.vetting.weights import check_parameters, check_part_weights

_TOKENIZERS = ({"tokenizer.json"}, {"vocab.json", "merges.txt"})
"""Either of these sets is enough to make a Qwen tokenizer from."""
_TEMPLATES = ("chat_template.jinja", "chat_template.json")


def check_image_files(files: Mapping[str, Path]) -> ModelFacts:
    """The facts of an image model of these files, by name. InvalidModelFiles names the file that is missing or wrong;
    UnsupportedModel is for what no engine knows. Of weights only headers are read."""
    configs = read_image_configs(files)
    _check_places(files)
    tensors = {part: check_part_weights(files, part) for part in WEIGHTED_PARTS}
    facts = read_facts(files)
    image = facts.image
    assert image is not None, "its index makes it an image model"
    parts = {TEXT_ENCODER: image.text_encoder, TRANSFORMER: image.transformer, AUTOENCODER: image.autoencoder}
    for part, weights in parts.items():
        if not weights.dense_bytes:
            raise InvalidModelFiles(f"The file {part}/config.json does not say how the weights of {part} are packed.")
    for part, width in ((TEXT_ENCODER, image.text_hidden), (TRANSFORMER, image.hidden)):
        config = {**configs.configs[part], "hidden_size": width}
        check_parameters(config, tensors[part], f"{part}/config.json")
    _check_tokenizer(files)
    return facts


def _check_places(files: Mapping[str, Path]) -> None:
    for name in files:
        part, _, file = name.removeprefix(FOLDER).rpartition("/")
        is_weights = file.lower().endswith(".safetensors")
        if name != INDEX_FILE and part not in (WEIGHTED_PARTS if is_weights else PARTS):
            raise InvalidModelFiles(f"The file {name} belongs to no part of an image model: leave it out.")


def _check_tokenizer(files: Mapping[str, Path]) -> None:
    """It has to be there, with the template that a prompt is put into."""
    found = {name.removeprefix(f"{TOKENIZER}/") for name in files if name.startswith(f"{TOKENIZER}/")}
    if not any(needed <= found for needed in _TOKENIZERS):
        raise InvalidModelFiles(
            f"There is no tokenizer among the model's files: {TOKENIZER}/tokenizer.json is missing."
        )
    settings = f"{TOKENIZER}/{TOKENIZER_SETTINGS}"
    own = read_config(files[settings], settings, MAX_SETTINGS_BYTES) if settings in files else {}
    if not own.get("chat_template") and not found.intersection(_TEMPLATES):
        raise InvalidModelFiles(f"The tokenizer has no chat template: {TOKENIZER}/{_TEMPLATES[0]} is missing.")
