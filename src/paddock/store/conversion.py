"""Other weights for a new model than those that it starts from: quantised, or with an adapter in them.

A runner makes them in a folder of the store's own, and what it made is moved from there to the blobs. Which runner, and
when, is not known here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import msgspec

from paddock.errors import BadRequest, InvalidModelFiles, LoadFailed, StoreFull, Unsupported
from paddock.protocol import decode, encode
from paddock.protocol.conversion import (
    ADAPTER_FOLDER,
    ORDER_FILE,
    OUTPUT_FOLDER,
    PACKINGS,
    REPLY_FILE,
    SOURCE_FOLDER,
    ConversionOrder,
    ConversionReply,
)
from paddock.store.create import CreateSpec, Progress, file_layer, find_base, finish
from paddock.store.durable import FOLDER_MODE, told_plainly
from paddock.store.facts import ModelFacts
from paddock.store.leases import Lease
from paddock.store.library import Library, StoredModel
from paddock.store.manifest import CONFIG_TYPE, JSON_TYPE, Layer, Manifest
from paddock.store.model_files import check_files
from paddock.store.names import parse_digest
from paddock.store.stored_config import Recipe
from paddock.store.tensors import all_tensors
from paddock.vetting.adapter import ADAPTER_CONFIG, Adapter, read_adapter
from paddock.vetting.model_config import CONFIG_FILE, read_config, text_part
from paddock.vetting.weights import INDEX_FILE, is_main_weights

FOLDER = "conversions"
"""Below the root of the store: a folder for each conversion, which is locked while it is at work."""
ALIASES = {"q4": "int4", "fp4": "int4", "q8": "int8", "fp8": "int8"}
"""Other names of kinds, Ollama's as well."""

_LOCK_FILE = "lock"
_OTHER_SETTINGS = "hf_quant_config.json"
_PACKED = frozenset({"U32", "U8", "I8", "F8_E4M3", "F8_E8M0"})
"""Types that numbers of quantised weights have."""
_BYTES_AT_MOST = 9 / 8
"""Of a number in 8 bits and its part of a scale and a bias."""


@dataclass(frozen=True)
class ConversionWish:
    """What a new model is to have that its base has not. Neither: there is nothing to convert."""

    kind: str = ""
    """One of `PACKINGS`."""
    adapter: Mapping[str, str] = field(default_factory=dict)
    """Digests of the uploaded files of an adapter, by file name."""

    def __bool__(self) -> bool:
        return bool(self.kind or self.adapter)


def canonical_kind(text: str) -> str:
    """The kind of quantised weights that a name means, in whatever case; BadRequest."""
    kind = ALIASES.get(text.lower(), text.lower())
    if kind not in PACKINGS:
        supported = ", ".join(PACKINGS)
        raise BadRequest(f'unsupported quantize type "{text[:40]}": supported types are {supported}')
    return kind


class Conversion:
    """One conversion: the folder that a runner works in, and everything that it needs from the store, until `close`.

    All of it blocks, and belongs into a thread.
    """

    def __init__(self, library: Library, spec: CreateSpec, wish: ConversionWish) -> None:
        """Check everything that can be checked before work begins, and set the folder up. Errors as of `create`, and
        StoreFull."""
        self._library, self._spec, self._wish = library, spec, wish
        with contextlib.ExitStack() as undo:
            self._lease = undo.enter_context(library.leases.take())
            self._base = find_base(library, spec, self._lease)
            self._files = {layer.file_name: library.blobs.path(layer.digest) for layer in self._base.own_files}
            _check_plain(self._files, self._base.facts, wish)
            adapter_files = _adapter_files(library, wish, self._lease)
            adapter = read_adapter(adapter_files) if adapter_files else None
            if adapter:
                _check_for(self._files, adapter)
            self.adapter_bytes = adapter.size_bytes if adapter else 0
            """What the adapter's numbers take."""
            self._recipe = self._told(adapter)
            _check_room(library.root, self._base.facts, wish)
            sweep_conversions(library.root)
            self.folder = undo.enter_context(_locked_folder(library.root))
            """For a runner."""
            self._set_up(adapter_files)
            self._undo = undo.pop_all()

    @property
    def facts(self) -> ModelFacts:
        """Of the model as it is."""
        return self._base.facts

    @property
    def source(self) -> str:
        """The digest of what it starts from."""
        return self._recipe.source

    @property
    def model(self) -> StoredModel:
        """The model as others see it while it is being made."""
        digest = self.source.removeprefix("sha256:")
        return StoredModel(
            name=self._spec.name,
            digest=digest,
            size_bytes=sum(layer.size for layer in self._base.files),
            modified_at=datetime.now().astimezone(),
            facts=self.facts,
            parameters={},
            system="",
            template="",
            licenses=(),
            messages=(),
            parent_model=self._base.parent.name.display if self._base.parent else "",
            manifest=Manifest(Layer(CONFIG_TYPE, self.source, 0), self._base.files),
        )

    def finish(self, progress: Progress) -> StoredModel:
        """Take in what a runner has made, and make the model. InvalidModelFiles if it made no whole one."""
        made, recipe = self._made()
        kept = [layer for layer in self._base.own_files if not _is_replaced(layer)]
        own = (*kept, *made)
        facts = check_files({layer.file_name: self._library.blobs.path(layer.digest) for layer in own})
        drafts = self._base.files[len(self._base.own_files) :]
        base = replace(
            self._base,
            facts=replace(facts, draft=self._base.facts.draft, capabilities=self._base.facts.capabilities),
            files=(*own, *drafts),
            recipe=recipe,
            made=frozenset(layer.digest for layer in made),
        )
        return finish(self._library, self._spec, base, progress, self._lease)

    def close(self) -> None:
        """Remove the folder with all that is in it, and give the base back. Idempotent."""
        self._undo.close()

    def _told(self, adapter: Adapter | None) -> Recipe:
        parent = self._base.parent
        if parent is not None:
            source = f"sha256:{parent.digest}"
        else:
            lines = "".join(f"{layer.digest} {layer.file_name}\n" for layer in sorted(self._base.files, key=_by_name))
            source = f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
        added = parse_digest(self._wish.adapter[adapter.weights]) if adapter else ""
        if not self._wish.kind:
            return Recipe(source=source, adapter=added)
        packing = PACKINGS[self._wish.kind]
        return Recipe(
            kind=self._wish.kind,
            mode=packing.mode,
            bits=packing.bits,
            group_size=packing.group_size,
            source=source,
            adapter=added,
        )

    def _set_up(self, adapter_files: Mapping[str, Path]) -> None:
        order = ConversionOrder(kind=self._wish.kind, has_adapter=bool(adapter_files))
        with told_plainly():
            (self.folder / ORDER_FILE).write_bytes(encode(order))
            for folder, files in ((SOURCE_FOLDER, self._files), (ADAPTER_FOLDER, adapter_files)):
                for name, path in files.items():
                    link = self.folder / folder / name
                    link.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
                    _link(path, link)

    def _made(self) -> tuple[list[Layer], Recipe]:
        output = self.folder / OUTPUT_FOLDER
        try:
            reply = decode((self.folder / REPLY_FILE).read_bytes(), ConversionReply)
        except (OSError, msgspec.DecodeError):
            raise LoadFailed("The new weights of the model could not be made: see the server's log.") from None
        layers = [self._take(path) for path in sorted(output.iterdir())]
        return layers, msgspec.structs.replace(self._recipe, layers=dict(reply.layers))

    def _take(self, path: Path) -> Layer:
        """The layer for a file that was made; the blob is the file itself."""
        name, blobs = path.name, self._library.blobs
        if not is_main_weights(name):
            return file_layer(self._library, name, blobs.add_file(path, self._lease).digest)
        with told_plainly(), path.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            size_bytes = os.fstat(file.fileno()).st_size
        self._lease.add((digest,))
        return file_layer(self._library, name, blobs.take(path, digest, size_bytes).digest)


def sweep_conversions(root: Path) -> None:
    """Remove the folders of conversions whose server is gone."""
    if not (root / FOLDER).is_dir():
        return
    with told_plainly():
        for folder in (root / FOLDER).iterdir():
            if not folder.name.startswith(".") and _is_dead(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_dead(folder: Path) -> bool:
    try:
        with (folder / _LOCK_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    return True


@contextlib.contextmanager
def _locked_folder(root: Path) -> Iterator[Path]:
    """A new folder, which is gone after the block; under its name it is locked, so nobody takes it for a dead one's."""
    name = secrets.token_hex(8)
    folder, unlocked = root / FOLDER / name, root / FOLDER / f".{name}"
    with told_plainly():
        unlocked.mkdir(mode=FOLDER_MODE, parents=True)
        lock = (unlocked / _LOCK_FILE).open("xb")
    try:
        with told_plainly():
            fcntl.flock(lock, fcntl.LOCK_EX)
            unlocked.rename(folder)
        yield folder
    finally:
        for path in (folder, unlocked):
            shutil.rmtree(path, ignore_errors=True)
        lock.close()


def _link(blob: Path, link: Path) -> None:
    try:
        os.link(blob, link)
    except OSError:
        link.symlink_to(blob.resolve())


def _by_name(layer: Layer) -> str:
    return layer.file_name


def _is_replaced(layer: Layer) -> bool:
    """Whether it is weights, their index or the config: what a conversion makes anew."""
    return layer.media_type != JSON_TYPE or layer.name in (CONFIG_FILE, INDEX_FILE)


# ---- what cannot be converted ---------------------------------------------------------------------------------------


def _check_plain(files: Mapping[str, Path], facts: ModelFacts, wish: ConversionWish) -> None:
    """Unsupported for anything but the unquantised weights of a text model."""
    if facts.engine != "text":
        raise Unsupported("Only models that make text can be quantised or take an adapter: leave both out.")
    config = read_config(files[CONFIG_FILE])
    keys = ("quantization", "quantization_config")
    has_settings = _OTHER_SETTINGS in files or any(
        part.get(key) for part in (config, text_part(config)) for key in keys
    )
    if not has_settings and not any(tensor.dtype in _PACKED for tensor in all_tensors(files)):
        return
    level = facts.quantization_level
    if wish.adapter:
        raise Unsupported(
            f"An adapter is added to the weights, and those of this model are quantised ({level}): create it from the "
            "unquantised model, and quantize what comes of it."
        )
    raise Unsupported(
        f"This model is quantised already ({level}): create the new one from its unquantised weights, or leave "
        "quantize out."
    )


def _adapter_files(library: Library, wish: ConversionWish, lease: Lease) -> dict[str, Path]:
    lease.add(wish.adapter.values())
    for name, digest in wish.adapter.items():
        if "/" in name or (name != ADAPTER_CONFIG and not name.endswith(".safetensors")):
            raise InvalidModelFiles(f"The file {name[:200]} is no part of an adapter: leave it out.")
        library.blobs.size(digest)
    return {name: library.blobs.path(digest) for name, digest in wish.adapter.items()}


def _check_for(files: Mapping[str, Path], adapter: Adapter) -> None:
    """InvalidModelFiles where the adapter is for a model of other sizes. What the engine calls otherwise than the files
    do, is compared by the engine."""
    shapes = {tensor.name: tensor.shape for tensor in all_tensors(files)}
    for layer in adapter.layers:
        shape = shapes.get(f"{layer.layer}.weight")
        if shape is not None and shape not in (layer.shape(), layer.shape(is_embedding=True)):
            raise InvalidModelFiles(
                f"The adapter is for another model: for {layer.layer[:200]} it has the shape {list(layer.shape())} in "
                f"place of {list(shape)}."
            )


def _check_room(root: Path, facts: ModelFacts, wish: ConversionWish) -> None:
    needed_bytes = facts.weights_bytes
    if wish.kind:
        needed_bytes = min(needed_bytes, round(facts.parameter_count * _BYTES_AT_MOST))
    with told_plainly():
        free_bytes = shutil.disk_usage(root).free
    if needed_bytes > free_bytes:
        raise StoreFull(
            f"There is not enough room for the new weights: {needed_bytes - free_bytes} bytes are short; free some "
            "space or move the store."
        )
