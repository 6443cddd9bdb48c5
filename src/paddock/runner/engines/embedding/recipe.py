"""What the files of sentence-transformers say beside the model itself: pooling, dense layers, the longest text. They
are read as data: no class that they name is ever imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.errors import DamagedModel, InvalidModelFiles, UnsupportedModel
from paddock.vetting.code import MODULES_FILE
from paddock.vetting.model_config import CONFIG_FILE, read_config, read_json

_SENTENCE_FILE = "sentence_bert_config.json"
_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_FLAGS: Mapping[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class DenseLayer:
    """One layer on top of the pooling."""

    folder: str
    inner: int
    outer: int
    has_bias: bool
    activation: str
    """The last part of the class's name, as torch calls it."""


@dataclass(frozen=True)
class Recipe:
    """How vectors are made of hidden states."""

    pooling: tuple[str, ...]
    """Names of `pooling.POOLS`, in its order."""
    dense: tuple[DenseLayer, ...] = ()
    longest: int | None = None
    """Tokens of a text, if the files say it."""
    lowers_case: bool = False


def read_recipe(folder: Path, default_pooling: str) -> Recipe:
    """The recipe of a model; without modules.json, the default pooling alone. UnsupportedModel for a module that is not
    known or stands where it does not belong, DamagedModel for files that cannot be read."""
    try:
        return _read(folder, default_pooling)
    except InvalidModelFiles as error:
        raise DamagedModel(f"{error.message.rstrip('.')}; pull or create the model again.") from None


def _read(folder: Path, default_pooling: str) -> Recipe:
    settings = _object(folder, _SENTENCE_FILE) if (folder / _SENTENCE_FILE).exists() else {}
    longest = settings.get("max_seq_length")
    recipe = Recipe(
        pooling=(default_pooling,),
        longest=longest if type(longest) is int and longest > 0 else None,
        lowers_case=settings.get("do_lower_case") is True,
    )
    if not (folder / MODULES_FILE).exists():
        return recipe
    modules = read_json(folder / MODULES_FILE, MODULES_FILE)
    return _with_modules(folder, recipe, modules if isinstance(modules, list) else [])


def _with_modules(folder: Path, recipe: Recipe, modules: list[Any]) -> Recipe:
    kinds = [str(module.get("type", "")).rpartition(".")[2] if isinstance(module, dict) else "" for module in modules]
    ends = len(kinds) - (kinds[-1:] == ["Normalize"])
    # Whether vectors are normalised is the request's business, so the module itself has nothing to do.
    if kinds[:2] != ["Transformer", "Pooling"] or any(kind != "Dense" for kind in kinds[2:ends]):
        odd = next((kind for kind in kinds if kind not in ("Transformer", "Pooling", "Dense", "Normalize")), "")
        what = f'the module "{odd}"' if odd else "this order of modules"
        raise UnsupportedModel(f"This version of Paddock cannot make embeddings with {what} of modules.json.")
    paths = [_path(module) for module in modules]
    if paths[0]:
        raise UnsupportedModel("This version of Paddock needs the encoder's files beside modules.json.")
    return Recipe(
        pooling=_pooling(_object(folder, f"{paths[1]}/{CONFIG_FILE}")),
        dense=tuple(_dense(folder, path) for path in paths[2:ends]),
        longest=recipe.longest,
        lowers_case=recipe.lowers_case,
    )


def _path(module: Mapping[str, Any]) -> str:
    path = module.get("path", "")
    if not isinstance(path, str) or "/" in path or "\\" in path or path.startswith("."):
        raise InvalidModelFiles(f"The file {MODULES_FILE} names a folder that is not the model's own.")
    return path


def _pooling(settings: Mapping[str, Any]) -> tuple[str, ...]:
    named = settings.get("pooling_mode")
    wanted = set(named if isinstance(named, list) else [named]) if named else set()
    wanted = wanted or {mode for flag, mode in _FLAGS.items() if settings.get(flag)}
    if not wanted or not wanted <= set(_MODES):
        raise UnsupportedModel("This version of Paddock does not know the pooling that the model asks for.")
    return tuple(mode for mode in _MODES if mode in wanted)


def _dense(folder: Path, path: str) -> DenseLayer:
    settings = _object(folder, f"{path}/{CONFIG_FILE}")
    inner, outer = settings.get("in_features"), settings.get("out_features")
    if type(inner) is not int or type(outer) is not int or not 0 < inner <= 65_536 or not 0 < outer <= 65_536:
        raise InvalidModelFiles(f"The file {path}/{CONFIG_FILE} does not give the sizes of its layer.")
    activation = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    return DenseLayer(path, inner, outer, settings.get("bias", True) is not False, activation)


def _object(folder: Path, name: str) -> dict[str, Any]:
    return read_config(folder / name, name)
