"""Which files may be part of a model, and whether a set of them is a whole one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from paddock.errors import BadRequest, InvalidModelFiles
from paddock.store.capabilities import with_template
from paddock.store.facts import ModelFacts, read_facts, recognise_engine
from paddock.store.image_files import check_image_files
from paddock.store.manifest import JSON_TYPE, TENSOR_TYPE, WEIGHTS_TYPE, Layer, Manifest
from paddock.vetting.code import refuse_code_file
from paddock.vetting.image_folder import INDEX_FILE, PARTS, WEIGHTED_PARTS
from paddock.vetting.model_config import CONFIG_FILE, read_config
from paddock.vetting.settings import check_settings
from paddock.vetting.tensor_layers import FOLDER, MAX_LAYERS, is_tensor_file
from paddock.vetting.weights import check_parameters, check_weights, is_layer_weights, is_main_weights

MAX_FILES = 1_024
MAX_TEXT_FILE_BYTES = 64 * 1024 * 1024
"""Most bytes of a file that is not weights; the largest tokenizers have about half of it."""

_NAME_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@=, -]{0,199}")
_PART = re.compile(r"\d{1,2}_[A-Za-z]{1,40}")
_TOKENIZERS = ({"tokenizer.json"}, {"tokenizer.model"}, {"spiece.model"}, {"vocab.json", "merges.txt"}, {"vocab.txt"})
"""Any one of these sets is enough for the runner's tokenizer library."""


def media_type_of(name: str) -> str:
    """The media type of the layer for a file of this name; a 400 for a name or a kind that no model needs."""
    parts = name.split("/")
    if len(parts) > 2 or not all(_NAME_PART.fullmatch(part) for part in parts):
        raise BadRequest("file path must be relative")
    if is_tensor_file(name.lower()):
        raise InvalidModelFiles(f"A model has no files of its own in {FOLDER}: name them otherwise.")
    lower = name.lower()
    refuse_code_file(name)
    if lower.endswith(".safetensors"):
        return WEIGHTS_TYPE
    if lower.endswith((".json", ".jinja", ".txt", ".model", ".tiktoken")):
        return JSON_TYPE
    raise InvalidModelFiles(f"The file {name} is of a kind that no model needs: leave it out.")


def is_model_file(name: str) -> bool:
    """Whether a file of a folder is one to import: known by its name, and if weights, the model's own."""
    try:
        media_type = media_type_of(name)
    except BadRequest:
        return False
    is_in_part = name.partition("/")[0] in WEIGHTED_PARTS
    return media_type != WEIGHTS_TYPE or is_main_weights(name) or is_layer_weights(name) or is_in_part


def wanted_names(names: Iterable[str]) -> list[str]:
    """Those of the files of a folder or a repository that belong to a model, by their paths in it: its own, and those
    of the parts of an encoder, which sentence-transformers keeps in folders like 1_Pooling. Of an image model the
    index, and what is in its parts."""
    found = sorted(names)
    is_image = INDEX_FILE in found
    return [name for name in found if _is_in_place(name, is_image) and is_model_file(name)]


def _is_in_place(name: str, is_image: bool) -> bool:
    part, separator, _ = name.partition("/")
    if not separator:
        return not is_image or name == INDEX_FILE
    return part in PARTS if is_image else bool(_PART.fullmatch(part))


def model_files(folder: Path) -> dict[str, Path]:
    """The files of a folder that belong to a model, by name."""
    parts = [path for path in folder.iterdir() if (path.name in PARTS or _PART.fullmatch(path.name)) and path.is_dir()]
    found = [*folder.iterdir(), *(path for part in parts for path in part.iterdir())]
    paths = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: paths[name] for name in wanted_names(paths) if paths[name].is_file()}


def check_files(files: Mapping[str, Path]) -> ModelFacts:
    """The facts of a whole model of these files, by name; InvalidModelFiles if something is wrong or missing.

    Reads headers and small files only: the weights themselves are never opened beyond their headers.
    """
    _check_names(files)
    for name, path in files.items():
        is_weights = is_tensor_file(name) or media_type_of(name) == WEIGHTS_TYPE
        if not is_weights and path.stat().st_size > MAX_TEXT_FILE_BYTES:
            raise InvalidModelFiles(f"The file {name} is larger than {MAX_TEXT_FILE_BYTES} bytes.")
    return check_image_files(files) if recognise_engine(files) == "image" else _checked_text(files)


def check_manifest(manifest: Manifest, path_of: Callable[[str], Path], template: str) -> ModelFacts:
    """The facts of a model whose manifest came from elsewhere, and of its draft. InvalidModelFiles, UnsupportedModel.

    `path_of` tells where the blob of a digest is; `template` takes the place of the model's own unless it is empty.
    """
    check_layer_names(manifest.files)
    facts = check_files({layer.file_name: path_of(layer.digest) for layer in manifest.files})
    if template:
        facts = replace(facts, capabilities=with_template(facts.capabilities, template))
    if manifest.draft_files:
        check_layer_names(manifest.draft_files)
        draft = check_files({layer.file_name: path_of(layer.digest) for layer in manifest.draft_files})
        facts = replace(facts, draft=draft)
    return facts


def _checked_text(files: Mapping[str, Path]) -> ModelFacts:
    """Of a text model or an encoder."""
    check_settings(files)
    facts = read_facts(files)
    check_parameters(read_config(files[CONFIG_FILE]), check_weights(files))
    if not _has_tokenizer(files):
        raise InvalidModelFiles("There is no tokenizer among the model's files: tokenizer.json is missing.")
    return facts


def check_layer_names(layers: Iterable[Layer]) -> None:
    """Refuse layers whose files could not be made, or not beside one another; InvalidModelFiles or a 400."""
    names = []
    for layer in layers:
        names.append(layer.file_name)
        if layer.media_type != TENSOR_TYPE:
            media_type_of(names[-1])
    if len({name.lower() for name in names}) != len(names):
        raise InvalidModelFiles("Two of the files have the same name, or names that differ in case only.")


def _check_names(files: Iterable[str]) -> None:
    names = list(files)
    tensors = sum(map(is_tensor_file, names))
    if len(names) - tensors > MAX_FILES:
        raise InvalidModelFiles(f"A model has at most {MAX_FILES} files.")
    if tensors > MAX_LAYERS:
        raise InvalidModelFiles(f"A model has at most {MAX_LAYERS} layers of tensors.")
    if len({name.lower() for name in names}) != len(names):
        raise InvalidModelFiles("Two of the files have names that differ in case only.")
    if CONFIG_FILE not in names and recognise_engine(names) != "image":
        raise InvalidModelFiles("There is no config.json among the model's files.")


def _has_tokenizer(files: Iterable[str]) -> bool:
    names = set(files)
    return any(needed <= names for needed in _TOKENIZERS) or any(name.endswith(".tiktoken") for name in names)
