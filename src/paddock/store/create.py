"""Making models: from uploaded files, from a model that is there already, or from a local folder."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from paddock.errors import BadRequest, InvalidModelFiles, Unsupported
from paddock.options import PICTURE_OPTIONS, parse_options
from paddock.store.blobs import blob_not_found
from paddock.store.capabilities import with_template
from paddock.store.drafts import draft_layers, find_draft
from paddock.store.durable import told_plainly
from paddock.store.facts import ModelFacts
from paddock.store.leases import Lease
from paddock.store.library import MAX_TEXT_BYTES, Library, StoredModel
from paddock.store.manifest import (
    CONFIG_TYPE,
    DRAFT_FOLDER,
    LICENSE_TYPE,
    MESSAGES_TYPE,
    PARAMETERS_TYPE,
    SYSTEM_TYPE,
    TEMPLATE_TYPE,
    Layer,
    Manifest,
)
from paddock.store.model_files import check_files, media_type_of, model_files
from paddock.store.names import ModelName, parse_digest
from paddock.store.stored_config import Origin, Recipe, StoredConfig
from paddock.store.templates import check_template

Progress = Callable[[str], None]

MAX_LICENSE_BYTES = 1024 * 1024

_ROLES = ("system", "user", "assistant")
_LICENSE = re.compile(r"(?i)(?:licen[cs]e|copying|notice)(?:[.-][a-z0-9.-]{1,20})?")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CreateSpec:
    """A model to be made, from either `from_` or `files`. What is None or empty is taken over from `from_`."""

    name: ModelName
    from_: str | None = None
    """The name of a model that is here."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Digests of uploaded blobs by file name."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """Options under Ollama's names; they go on top of those of `from_`, and null takes one of those away."""
    system: str | None = None
    template: str | None = None
    """A Jinja chat template."""
    licenses: tuple[str, ...] | None = None
    """Beside those of `from_`, which it keeps."""
    messages: tuple[Mapping[str, str], ...] | None = None
    """Turns that precede every conversation, each with `role` and `content`."""
    draft: str | None = None
    """The name of a smaller model that is here, to foresee this one's tokens with."""
    origin: Origin | None = None
    """Where the files were pulled from."""


@dataclass(frozen=True)
class Base:
    """What a new model starts from."""

    facts: ModelFacts
    files: tuple[Layer, ...]
    parent: StoredModel | None = None
    draft_model: str = ""
    """The name of its draft model, whose files are among these."""
    recipe: Recipe | None = None
    """How its weights were made, if they were made here."""
    made: frozenset[str] = frozenset()
    """The digests of files that have just been made."""

    @property
    def own_files(self) -> tuple[Layer, ...]:
        """Those that are not its draft model's."""
        return tuple(layer for layer in self.files if not str(layer.name).startswith(DRAFT_FOLDER))


def create(library: Library, spec: CreateSpec, progress: Progress) -> StoredModel:
    """Make a model and tell the steps to `progress` in Ollama's words, "success" at the end.

    A BadRequest of some kind if the spec makes no model, NotFound for an absent `from_` or blob. A model that had the
    name stays as it was until the new one is whole.
    """
    with library.leases.take() as lease:
        base = find_base(library, spec, lease)
        return finish(library, spec, base, progress, lease)


def find_base(library: Library, spec: CreateSpec, lease: Lease) -> Base:
    """What the spec starts from, once both are known to be right; the lease holds it from here on. Errors as of
    `create`."""
    check_spec(spec)
    found = _base_from_model(library, spec.from_, lease) if spec.from_ else _base_from_files(library, spec.files, lease)
    _check_suits(spec, found.facts)
    return found


def finish(library: Library, spec: CreateSpec, base: Base, progress: Progress, lease: Lease) -> StoredModel:
    """Add what the spec says to the base, and write the manifest. The lease holds the base."""
    for layer in base.files:
        progress(_layer_status(layer.digest, is_new=layer.digest in base.made))
    return _finish(library, spec, base, progress, lease)


def _finish(library: Library, spec: CreateSpec, base: Base, progress: Progress, lease: Lease) -> StoredModel:
    if spec.draft:
        base = _with_draft(library, base, spec.draft, lease)
    facts = base.facts
    if spec.template:
        facts = replace(facts, capabilities=with_template(facts.capabilities, spec.template))
    parent = base.parent.name.display if base.parent else ""
    config = StoredConfig.of(facts, parent, base.draft_model, spec.origin, base.recipe)
    contents = [*_said(spec, base.parent), (CONFIG_TYPE, config.encode())]
    *layers, config_layer = (_layer(media_type, content) for media_type, content in contents)
    for layer in (*layers, config_layer):
        progress(_layer_status(layer.digest, is_new=not library.blobs.has(layer.digest)))
    progress("writing manifest")
    manifest = Manifest(config_layer, (*base.files, *layers))
    model = library.put(spec.name, manifest, [content for _, content in contents], lease)
    if base.parent and base.parent.name.same_as(spec.name):
        # The lease has kept what only the model needed that this one takes the place of.
        library.discard((layer.digest for layer in base.parent.manifest.blobs), lease)
    progress("success")
    return model


def import_folder(
    library: Library, name: ModelName, folder: Path, spec: CreateSpec | None = None, progress: Progress | None = None
) -> StoredModel:
    """Make a model of the files in a local folder, and of its licences; what no model needs is passed over.

    `spec` may add parameters, a system prompt and the like; its name and sources do not matter here.
    """
    if not folder.is_dir():
        raise InvalidModelFiles("There is no such folder to import a model from.")
    paths = model_files(folder)
    if not paths:
        raise InvalidModelFiles("The folder holds no files of a model: config.json and *.safetensors are missing.")
    spec = replace(spec or CreateSpec(name), name=name, from_=None, files=dict.fromkeys(paths, ""))
    spec = replace(spec, licenses=(*(spec.licenses or ()), *folder_licenses(folder)))
    check_spec(spec)
    report = progress or _silent
    digests = {}
    with library.leases.take() as lease:
        for file, path in paths.items():
            blob = library.blobs.add_file(path, lease)
            digests[file] = blob.digest
            report(_layer_status(blob.digest, is_new=blob.is_new))
        base = _base_from_files(library, digests, lease)
        _check_suits(spec, base.facts)
        return _finish(library, spec, base, report, lease)


def folder_licenses(folder: Path) -> tuple[str, ...]:
    """The texts of a folder's licences, the largest of which are passed over."""
    with told_plainly():
        paths = sorted(path for path in folder.iterdir() if _LICENSE.fullmatch(path.name) and path.is_file())
        found = [path.read_bytes() for path in paths if path.stat().st_size <= MAX_LICENSE_BYTES]
    texts = (data.decode("utf-8", "replace").replace("\0", "").strip() for data in found)
    return tuple(text for text in texts if text)


def _check_suits(spec: CreateSpec, facts: ModelFacts) -> None:
    """BadRequest where a model that makes pictures would get what only texts have, and every request to it fail."""
    if facts.engine != "image":
        return
    if spec.template or spec.system or spec.messages:
        raise BadRequest("A model that makes pictures takes no template, system prompt or messages: leave them out.")
    for name, value in spec.parameters.items():
        if value is not None and name not in PICTURE_OPTIONS:
            raise Unsupported(f'parameter "{name}" is for texts, and this model makes pictures: leave it out.')


def _silent(_: str) -> None:
    """Nobody is interested."""


def check_spec(spec: CreateSpec) -> None:
    """Refuse what can be refused before anything is read or written."""
    if not spec.from_ and not spec.files:
        raise BadRequest("neither 'from' or 'files' was specified")
    if spec.from_ and spec.files:
        raise BadRequest("Both 'from' and 'files' were specified: leave one of them out.")
    parse_options(spec.parameters, source="parameter")
    if spec.template:
        check_template(spec.template)
    for message in spec.messages or ():
        if message.keys() != {"role", "content"} or message["role"] not in _ROLES:
            raise BadRequest("Each message needs a content, and a role that is system, user or assistant.")
    _check_texts(spec)


def _check_texts(spec: CreateSpec) -> None:
    texts = [spec.system or "", *(spec.licenses or ()), *(message["content"] for message in spec.messages or ())]
    try:
        sizes_bytes = [len(text.encode()) for text in texts]
    except UnicodeEncodeError:
        raise BadRequest("The system prompt, a license or a message is not valid text.") from None
    if sum(sizes_bytes) > MAX_TEXT_BYTES // 2:
        raise BadRequest(f"The system prompt, licenses and messages are larger than {MAX_TEXT_BYTES // 2} bytes.")


def _base_from_model(library: Library, name: str, lease: Lease) -> Base:
    parent = library.get_held(ModelName.parse(name), lease)
    layers = (*parent.manifest.files, *draft_layers(parent.manifest.draft_files))
    library.files(parent)  # what is damaged makes no new model
    return Base(parent.facts, layers, parent, parent.draft_model, parent.recipe)


def _with_draft(library: Library, base: Base, name: str, lease: Lease) -> Base:
    """The same with this draft model, in place of one that it may have."""
    own = base.own_files
    paths = {layer.file_name: library.blobs.path(layer.digest) for layer in own}
    draft = find_draft(library, name, base.facts, paths)
    lease.add(layer.digest for layer in draft.manifest.files)
    files = (*own, *draft_layers(draft.manifest.files))
    return replace(
        base,
        facts=replace(base.facts, draft=replace(draft.facts, draft=None)),
        files=files,
        draft_model=draft.name.display,
    )


def _base_from_files(library: Library, digests: Mapping[str, str], lease: Lease) -> Base:
    lease.add(digests.values())
    layers = tuple(file_layer(library, name, digest) for name, digest in digests.items())
    paths = {layer.file_name: library.blobs.path(layer.digest) for layer in layers}
    try:
        return Base(check_files(paths), layers)
    except InvalidModelFiles:
        _forget_damaged(library, layers)
        raise


def file_layer(library: Library, name: str, digest: str) -> Layer:
    """The layer for a file of this name; NotFound for a blob that is not here, a 400 for a name that no file has."""
    if name.startswith(DRAFT_FOLDER):
        raise BadRequest(
            f"A model has no files in {DRAFT_FOLDER}: name its draft model, which is there already, instead."
        )
    media_type, digest = media_type_of(name), parse_digest(digest)
    return Layer(media_type, digest, library.blobs.size(digest), name)


def _forget_damaged(library: Library, layers: tuple[Layer, ...]) -> None:
    """Files that make no model may be right files that the disk has damaged: those are to be uploaded again.

    A blob without its content is removed, and NotFound says so; does nothing when the blobs are what they should be.
    """
    for layer in layers:
        if not library.blobs.is_intact(layer.digest):
            _log.warning("blob %s was damaged on disk and is removed", layer.digest)
            library.blobs.remove(layer.digest)
            raise blob_not_found(layer.digest)


def _said(spec: CreateSpec, parent: StoredModel | None) -> list[tuple[str, bytes]]:
    """The layers that are not files, as media type and content: from the spec, else from the parent."""
    template = spec.template or (parent.template if parent else "")
    system = spec.system or (parent.system if parent else "")
    messages = spec.messages or (parent.messages if parent else ())
    licenses = _once((*(parent.licenses if parent else ()), *(spec.licenses or ())))
    parameters = _merged_parameters(parent.parameters if parent else {}, spec.parameters)
    texts = [(TEMPLATE_TYPE, template), (SYSTEM_TYPE, system), *((LICENSE_TYPE, text) for text in licenses)]
    said = [(media_type, text.encode()) for media_type, text in texts if text]
    if parameters:
        said.append((PARAMETERS_TYPE, msgspec.json.encode(parameters, order="sorted")))
    if messages:
        said.append((MESSAGES_TYPE, msgspec.json.encode([dict(message) for message in messages], order="sorted")))
    return said


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    """Each of them once, in their order."""
    return tuple(dict.fromkeys(texts))


def _merged_parameters(inherited: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    merged = {**inherited, **given}
    if isinstance(merged.get("stop"), str):
        merged["stop"] = [merged["stop"]]
    return {name: value for name, value in merged.items() if value is not None}


def _layer(media_type: str, content: bytes) -> Layer:
    return Layer(media_type, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))


def _layer_status(digest: str, *, is_new: bool) -> str:
    return f"{'creating new' if is_new else 'using existing'} layer {digest}"
