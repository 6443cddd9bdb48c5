"""From a checked folder to a model and a tokenizer in memory, without the network and without the folder's code."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from huggingface_hub.errors import StrictDataclassError
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm import utils as mlx_lm_utils
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tokenizer_utils import TokenizerWrapper
from transformers import AutoConfig

from paddock.errors import DamagedModel, InvalidModelFiles, UnsupportedModel
from paddock.runner.engines.base import Report
from paddock.runner.engines.stored_tensors import is_stored_by_tensor
from paddock.runner.engines.text.model import files, tensor_loading
from paddock.runner.engines.text.model.normalise import misread, overrides
from paddock.vetting.tokenizer import TOKENIZER_FILE, check_tokenizer

logger = logging.getLogger(__name__)

_REFUSALS = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, StrictDataclassError)
"""What the library raises for files that it cannot make a tokenizer of."""
_GROUP_BYTES = 64 * 1024 * 1024
"""Weights are read in groups of about this size, which is how fine progress is."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run, and what its files say about it."""

    model: nn.Module
    tokenizer: TokenizerWrapper
    context_limit: int | None
    vocabulary: int
    """Token ids that the embedding has rows for: a greater id would read outside of it."""
    end_tokens: frozenset[int]
    weights_bytes: int


def load(folder: Path, report: Report, *, keep_packed: bool = False) -> LoadedModel:
    """Read a model. DamagedModel or UnsupportedModel in one sentence; other exceptions are the architecture's own.

    `keep_packed`: on the CPU too, quantised weights stay as they are stored. On an accelerator they always do.
    """
    config, model = build(folder)
    check_tokenizer_file(folder)
    report(0.02)
    tokenizer = _load_tokenizer(folder)
    if mx.default_device() == mx.cpu:
        # MLX computes half precision on the CPU several times slower than single, and packed weights slower still.
        model.set_dtype(mx.float32)
        if not keep_packed:
            unpack(model)
    report(0.04)
    weights_bytes = _read_weights(model, report)
    tokenizer.encode("warm up", add_special_tokens=False)
    ends = files.end_tokens(folder, config) | set(tokenizer.eos_token_ids)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        context_limit=files.context_limit(config),
        vocabulary=_vocabulary(model, config),
        end_tokens=frozenset(ends),
        weights_bytes=weights_bytes,
    )


def build(folder: Path) -> tuple[dict[str, Any], nn.Module]:
    """The config of a model whose files were checked, and its architecture with its weights, still on disk. Errors as
    of `load`."""
    config = files.read_config(folder)
    if reason := misread(config):
        raise UnsupportedModel(f"This version of Paddock cannot run {reason}: its answers would be wrong.")
    return config, _build(folder, overrides(config, _required_keys(config)))


def unpack(model: nn.Module) -> None:
    """Turn quantised layers into dense ones, of the numbers of their scales. Nothing is computed yet.

    Those that are packed by classes of an architecture's own, or with a scale for whole tensors, stay packed.
    """
    dense = [(name, layer) for name, module in model.named_modules() if (layer := _dense(module)) is not None]
    if dense:
        model.update_modules(tree_unflatten(dense))


_DENSE_CLASSES: Mapping[type[nn.Module], type[nn.Module]] = {
    nn.QuantizedLinear: nn.Linear,
    nn.QuantizedEmbedding: nn.Embedding,
    QuantizedSwitchLinear: SwitchLinear,
}


def _dense(module: Any) -> nn.Module | None:
    """The dense layer of a quantised one; None for any other module."""
    dense_class: Any = _DENSE_CLASSES.get(type(module))
    if dense_class is None or getattr(module, "global_scale", None) is not None:
        return None
    # Made without its constructor, which would draw random weights of the same size first.
    layer: Any = dense_class.__new__(dense_class)
    nn.Module.__init__(layer)
    packed = (module.weight, module.scales, module.get("biases"), module.group_size, module.bits)
    # Scales of affine packing have the type that the weights get; others are numbers of 8 bits that say nothing of it.
    kind = None if module.mode == "affine" else mx.float32
    layer.weight = mx.dequantize(*packed, mode=module.mode, dtype=kind)
    if "bias" in module:
        layer.bias = module.bias
    assert isinstance(layer, nn.Module)
    return layer


def _required_keys(config: dict[str, Any]) -> frozenset[str]:
    """The config keys that the architecture demands. UnsupportedModel if mlx-lm does not have it."""
    try:
        _, arguments = mlx_lm_utils._get_classes(config)
    except (ValueError, AttributeError, SystemExit):
        unknown = f'The architecture "{config["model_type"]}" is not supported by this version of Paddock.'
        raise UnsupportedModel(unknown) from None
    parameters = inspect.signature(arguments).parameters
    return frozenset(name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty)


def check_tokenizer_file(folder: Path) -> None:
    """DamagedModel for a tokenizer that would make a text explode, before its library reads it."""
    path = folder / TOKENIZER_FILE
    if not path.exists():
        return
    try:
        check_tokenizer(path)
    except InvalidModelFiles as error:
        raise DamagedModel(f"{error.message.rstrip('.')}; pull or create the model again.") from None


def _load_tokenizer(folder: Path) -> TokenizerWrapper:
    try:
        # Never asked about code of the folder: nobody is there to answer, and the answer is no.
        return mlx_lm_utils.load_tokenizer(folder, {"trust_remote_code": False})
    except _REFUSALS as error:
        logger.debug("the tokenizer could not be loaded", exc_info=error)
        raise DamagedModel(_why_no_tokenizer(folder, error)) from None


def _why_no_tokenizer(folder: Path, error: Exception) -> str:
    """The library looks into config.json for the kind of tokenizer, so it may be that file which it refuses."""
    try:
        AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except _REFUSALS as refusal:
        if str(refusal) == str(error):
            found = re.search(r"[Ff]ield '(\w+)'|The `(\w+)`", str(refusal))
            where = f' in "{found[1] or found[2]}"' if found else ""
            return f"config.json has a value that its architecture does not take{where}: create the model again."
    return "The tokenizer files are missing or damaged: pull or create the model again."


def _build(folder: Path, model_config: dict[str, Any]) -> nn.Module:
    """The architecture with its weights, still on disk."""
    try:
        if is_stored_by_tensor(folder):
            return tensor_loading.build(folder, model_config)
        model, _ = mlx_lm_utils.load_model(folder, lazy=True, model_config=model_config)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        logger.debug("the model could not be built", exc_info=error)
        raise DamagedModel(_why_not_built(error)) from None
    return model


_TENSOR_PROBLEMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(r"Missing (\d+) parameters: \n?\s*([\w.]*\w)"),
        lambda found: f"{found[1]} are missing, {found[2]} first",
    ),
    (
        re.compile(r"Received (\d+) parameters not in model: \n?\s*([\w.]+)"),
        lambda found: f"{found[1]} are unknown to its architecture, {found[2]} first",
    ),
    (
        re.compile(r"Expected shape (\(.*?\)) but received shape (\(.*?\)) for parameter ([\w.]*\w)"),
        lambda found: f"{found[3]} has the shape {found[2]} in place of {found[1]}",
    ),
    (re.compile(r"missing \d+ required \w+ arguments?: (.*)"), lambda found: f"config.json does not give {found[1]}"),
)


def _why_not_built(error: Exception) -> str:
    for pattern, describe in _TENSOR_PROBLEMS:
        if found := pattern.search(str(error)):
            return f"The model's tensors do not fit its config.json: {describe(found)}."
    return "The model's config.json and weights do not fit together: pull or create the model again."


def _read_weights(model: nn.Module, report: Report) -> int:
    """Bring all weights into memory, group by group. Returns their bytes."""
    arrays = [array for _, array in tree_flatten(model.parameters())]
    total = sum(array.nbytes for array in arrays)
    done = 0
    for group in _groups(arrays):
        mx.eval(group)
        done += sum(array.nbytes for array in group)
        report(0.05 + 0.95 * done / max(1, total))
    mx.clear_cache()
    return total


def _groups(arrays: list[mx.array]) -> Iterator[list[mx.array]]:
    group: list[mx.array] = []
    for array in arrays:
        group.append(array)
        if sum(each.nbytes for each in group) >= _GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group


def _vocabulary(model: nn.Module, config: dict[str, Any]) -> int:
    """Rows of the token embedding, and never more than config.json's own vocabulary."""
    tables = (module for _, module in model.named_modules() if isinstance(module, nn.Embedding | nn.QuantizedEmbedding))
    rows = max((module.weight.shape[0] for module in tables), default=0)
    text = {**config, **(config.get("text_config") or {})}
    stated = text.get("vocab_size")
    known = [count for count in (rows, stated) if isinstance(count, int) and count > 0]
    if not known:
        raise UnsupportedModel("This model has no token embedding, so it cannot generate text.")
    return min(known)
