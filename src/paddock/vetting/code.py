"""What in a model's files would have code run, by a file's name or by a key of its settings.

No code of a model is ever run: nothing passes `trust_remote_code`, and no file of code enters the store. A model that
wants it is refused all the same, because without its code it would run wrongly or not at all.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddock.errors import InvalidModelFiles

_CODE = re.compile(
    r"\.(py|pyc|pyd|so|dylib|dll|exe|sh|bat|bin|pt|pth|ckpt|pkl|pickle|joblib|dill|npy|npz|gguf|ggml|h5|keras"
    r"|msgpack|onnx|pb|zip|tar|tgz|gz|7z|whl|egg)$"
)
_CODE_KEYS = frozenset({"model_file", "custom_pipelines", "custom_pipeline", "modules_to_import", "custom_generate"})
_OWN_MODULES = ("sentence_transformers.models.", "sentence_transformers.sentence_transformer.modules.")
MODULES_FILE = "modules.json"


def may_hold_code(name: str) -> bool:
    """Whether a file of this name could be code, a pickle, an archive, or weights in another format."""
    return bool(_CODE.search(name.lower()))


def refuse_code_file(name: str) -> None:
    """InvalidModelFiles if the file is of such a kind."""
    if may_hold_code(name):
        raise InvalidModelFiles(f"The file {name} may hold code or another format: only safetensors files are taken.")


def check_references(settings: Mapping[str, Any], name: str, *, may_be_mapped: bool = False) -> None:
    """Refuse settings that name code to import.

    `may_be_mapped`: `auto_map`, which says where another program finds Python classes for the model, is passed over;
    that is right only where an engine has the architecture itself and never asks for those classes.
    """
    if found := sorted(_CODE_KEYS & _keys(settings)):
        raise InvalidModelFiles(f"The file {name} names code to run ({found[0]}): models that need code are refused.")
    if "auto_map" in _keys(settings) and not may_be_mapped:
        raise InvalidModelFiles(
            f"The file {name} names code to run (auto_map): remove that key if the model works without."
        )


def check_modules(modules: object) -> None:
    """Refuse the `modules.json` of a sentence embedding model that would have anything but that library's own parts
    imported; InvalidModelFiles."""
    entries = modules if isinstance(modules, list) else [None]
    for entry in entries:
        kind = entry.get("type") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or not kind.startswith(_OWN_MODULES):
            raise InvalidModelFiles(f"The file {MODULES_FILE} names code to run: only standard modules are taken.")


def is_native(model_type: object) -> bool:
    """Whether the text engine's library has this architecture, by the names of its files: it is not imported."""
    spec = importlib.util.find_spec("mlx_lm")
    if spec is None or spec.origin is None or not isinstance(model_type, str) or not model_type.isidentifier():
        return False
    return (Path(spec.origin).parent / "models" / f"{model_type}.py").is_file()


def _keys(settings: object) -> set[str]:
    """The keys of an object and of all objects in it. Its depth is bounded by whoever read it."""
    if isinstance(settings, list):
        return set().union(*map(_keys, settings))
    if isinstance(settings, dict | Mapping):
        return set(map(str, settings)).union(*map(_keys, settings.values()))
    return set()
