"""`paddock create`: a Modelfile and the files it names become blobs and a model on the server."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from paddock.cli.client import Client, connect
from paddock.cli.links import check_links, leads_out
from paddock.cli.modelfile import Modelfile, decode, read
from paddock.cli.progress import StatusDisplay, follow
from paddock.errors import InvalidModelFiles, NotFound, PaddockError

DEFAULT_FILE = "Modelfile"
CHUNK_BYTES = 1024 * 1024
PATTERNS = (
    "config.json", "generation_config.json", "tokenizer*", "special_tokens_map*", "added_tokens*", "vocab*", "merges*",
    "chat_template.*", "*.safetensors", "*.safetensors.index.json", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json",
)  # fmt: skip
"""What an engine may need of a model folder; everything else stays behind."""
LAYER_PATTERNS = ("config.json", "model.safetensors")
"""The same of a layer behind an encoder, in a folder of its own like 1_Pooling."""
IMAGE_INDEX = "model_index.json"
IMAGE_PARTS = ("text_encoder", "tokenizer", "transformer", "vae", "scheduler")
IMAGE_PATTERNS = (
    "config.json", "generation_config.json", "scheduler_config.json", "tokenizer*", "special_tokens_map*",
    "added_tokens*", "vocab.json", "merges.txt", "chat_template.*", "*.safetensors", "*.safetensors.index.json",
)  # fmt: skip
"""The same of a part of an image model, which is a folder of its own beside the index."""


ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapters.safetensors", "adapter_model.safetensors")
"""mlx-lm's name and PEFT's."""
LICENSE_PATTERNS = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*")
MAX_LICENSE_BYTES = 1024 * 1024


def create(name: str, file: str | None, quantize: str | None = None) -> None:
    """Make `name` from a Modelfile: the one given, else the folder's own, else simply FROM this folder.

    `quantize` is the kind of weights that it gets.
    """
    modelfile, folder = load_modelfile(file)
    for warning in modelfile.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    client = connect()
    client.require()
    request: dict[str, Any] = {"model": name, **_described(modelfile)}
    if quantize:
        request["quantize"] = quantize
    source = find_source(modelfile.source, folder)
    wanted = {"adapters": collect_adapter(modelfile.adapter, folder)} if modelfile.adapter is not None else {}
    if source is None:
        request["from"] = modelfile.source
    else:
        wanted["files"] = collect_files(source)
        if licenses := list(dict.fromkeys([*modelfile.licenses, *folder_licenses(source)])):
            request["license"] = licenses
    if wanted:
        with StatusDisplay() as display:
            request |= {field: _upload(client, files, display) for field, files in wanted.items()}
    follow(client.stream("/api/create", request))


def load_modelfile(file: str | None) -> tuple[Modelfile, Path]:
    """The Modelfile and the folder that its FROM is relative to; NotFound for a named file that is missing."""
    path = Path(file or DEFAULT_FILE).expanduser()
    if file is None and not path.exists():
        return Modelfile(source="."), Path()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound("specified Modelfile wasn't found") from None
    except OSError as error:
        raise PaddockError(f"the Modelfile {path} cannot be read: {error.strerror}.") from None
    return read(decode(data)), path.parent


def find_source(source: str, folder: Path) -> Path | None:
    """The folder that FROM means, or None where it is the name of a model. Paths are relative to the Modelfile."""
    try:
        path = folder / Path(source).expanduser()
        is_there = path.exists()
    except (OSError, RuntimeError, ValueError):  # too long for a path, a NUL inside, no such home
        return None
    if is_there and not path.is_dir():
        raise InvalidModelFiles(
            f'"{source}" is a file: FROM takes a folder with config.json and *.safetensors, or a model.'
        )
    if not is_there and source.startswith((".", "/", "~")):
        raise NotFound(f'FROM "{source}": there is no such folder.')
    return path if is_there else None


def collect_files(folder: Path) -> dict[str, Path]:
    """The files of a model folder that an engine may need, by name; InvalidModelFiles if it holds no model, or links
    that lead out of it."""
    files = _collected(folder)
    check_links(files, folder)
    return files


def _collected(folder: Path) -> dict[str, Path]:
    if (folder / IMAGE_INDEX).is_file():
        return {IMAGE_INDEX: folder / IMAGE_INDEX} | _matching(folder, _inside(folder, IMAGE_PARTS), IMAGE_PATTERNS)
    parts = [part.name for part in sorted(folder.glob("[0-9]_*"))]
    files = _matching(folder, sorted(folder.iterdir()), PATTERNS)
    files |= _matching(folder, _inside(folder, parts), LAYER_PATTERNS)
    if "config.json" not in files or not any(name.endswith(".safetensors") for name in files):
        raise InvalidModelFiles(
            f'"{folder}" is no model folder: it needs config.json and *.safetensors files, or {IMAGE_INDEX}.'
        )
    return files


def collect_adapter(text: str, folder: Path) -> dict[str, Path]:
    """The two files of an adapter by name; `text` is a folder, relative to the Modelfile. NotFound, or
    InvalidModelFiles if it holds no adapter."""
    path = folder / Path(text).expanduser()
    if not path.is_dir():
        raise NotFound(f'ADAPTER "{text}": there is no such folder.')
    weights = [name for name in ADAPTER_WEIGHTS if (path / name).is_file()]
    if not weights or not (path / ADAPTER_CONFIG).is_file():
        raise InvalidModelFiles(
            f'"{text}" is no adapter: it needs {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS[0]}, '
            f"or PEFT's {ADAPTER_WEIGHTS[1]}."
        )
    files = {name: path / name for name in (ADAPTER_CONFIG, weights[0])}
    check_links(files, path)
    return files


def folder_licenses(folder: Path) -> list[str]:
    """The texts of the licences in a model's folder."""
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and path.stat().st_size <= MAX_LICENSE_BYTES]
    named = [
        path
        for path in paths
        if any(fnmatch.fnmatchcase(path.name.upper(), pattern) for pattern in LICENSE_PATTERNS)
        and not leads_out(path, folder)
    ]
    texts = (path.read_bytes().decode("utf-8", "replace").replace("\0", "").strip() for path in named)
    return [text for text in texts if text]


def _inside(folder: Path, names: Iterable[str]) -> list[Path]:
    """What lies in these folders of a folder."""
    return [path for name in names if (folder / name).is_dir() for path in sorted((folder / name).iterdir())]


def _matching(folder: Path, paths: Iterable[Path], patterns: Iterable[str]) -> dict[str, Path]:
    """The files of which one pattern is right, by their names from the folder on."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in paths
        if path.is_file() and any(fnmatch.fnmatchcase(path.name, pattern) for pattern in patterns)
    }


def _described(modelfile: Modelfile) -> dict[str, Any]:
    """What a Modelfile says beside FROM, in the fields of /api/create; what it does not say is left out."""
    fields = {
        "draft": modelfile.draft,
        "parameters": modelfile.parameters or None,
        "template": modelfile.template,
        "system": modelfile.system,
        "license": modelfile.licenses or None,
        "messages": modelfile.messages or None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _upload(client: Client, files: dict[str, Path], display: StatusDisplay) -> dict[str, str]:
    """The digest of every file, once the server has them all."""
    digests = _digests(files, display)
    for name, digest in digests.items():
        blob = f"/api/blobs/{digest}"
        if not client.exists(blob):
            size_bytes = files[name].stat().st_size
            client.upload(blob, display.counted(f"uploading {name}", _chunks(files[name]), size_bytes), size_bytes)
    return digests


def _digests(files: dict[str, Path], display: StatusDisplay) -> dict[str, str]:
    hashes = {name: hashlib.sha256() for name in files}

    def hashed() -> Iterator[bytes]:
        for name, path in files.items():
            for chunk in _chunks(path):
                hashes[name].update(chunk)
                yield chunk

    total_bytes = sum(path.stat().st_size for path in files.values())
    for _ in display.counted("hashing files", hashed(), total_bytes):
        pass
    return {name: f"sha256:{found.hexdigest()}" for name, found in hashes.items()}


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise PaddockError(f"{path} cannot be read: {error.strerror}.") from None
