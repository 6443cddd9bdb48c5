"""The engine whose load is a conversion: once it is ready, the new weights are there and it is of no more use."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import mlx.core as mx
import mlx.nn as nn
import msgspec

from paddock.errors import LoadFailed, Unsupported
from paddock.protocol import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Frame,
    ImageRequest,
    MemoryTerms,
    RerankRequest,
    TokenizeRequest,
    decode,
    encode,
)
from paddock.protocol.conversion import (
    ADAPTER_FOLDER,
    ORDER_FILE,
    OUTPUT_FOLDER,
    REPLY_FILE,
    SOURCE_FOLDER,
    ConversionOrder,
    ConversionReply,
)
from paddock.runner.engines import allocator
from paddock.runner.engines.base import EngineOptions, Passages, PicturePrompt, Prompt, Report, RequestId
from paddock.runner.engines.conversion.lora import read_added
from paddock.runner.engines.conversion.pieces import plan
from paddock.runner.engines.conversion.recipe import exceptions, settings, summarise
from paddock.runner.engines.conversion.writing import write_weights
from paddock.runner.engines.text.model.loading import build
from paddock.vetting.model_config import CONFIG_FILE, text_part

_NICENESS = 10
_HEAD = "lm_head"


class ConversionEngine:
    """An `Engine` that answers nothing."""

    context_length = 0
    has_work = False
    tokens_generated = 0
    overdue = ""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options

    def load(self, report: Report) -> None:
        """Do the work. DamagedModel, UnsupportedModel; InvalidModelFiles for an adapter that is not for this model."""
        _give_way()
        allocator.settle(self._options)
        mx.set_cache_limit(0)  # no two tensors need be of one size: what is kept for reuse would only add up
        folder = self._options.model_path
        try:
            order = decode((folder / ORDER_FILE).read_bytes(), ConversionOrder)
        except (OSError, msgspec.DecodeError):
            raise LoadFailed("There is no order of what to make.") from None
        output = folder / OUTPUT_FOLDER
        shutil.rmtree(output, ignore_errors=True)  # of an attempt that ran out of memory
        output.mkdir()
        convert(folder, output, order, report)

    def memory(self) -> MemoryTerms:
        """Nothing is to be learned from it for later loads, so it tells of arrays alone."""
        return MemoryTerms(active_bytes=mx.get_active_memory(), peak_bytes=mx.get_peak_memory())

    def shrink(self, keep_bytes: int) -> int:
        """Nothing is kept."""
        return 0

    def cancel(self, request_id: RequestId) -> None:
        """There are no requests."""

    def step(self) -> list[tuple[RequestId, Frame]]:
        """There is nothing to do."""
        return []

    def submit(self, request_id: RequestId, prompt: Prompt | Passages | PicturePrompt) -> None:
        """Never comes to pass: no request can be prepared."""

    def prepare(
        self, request: CompletionRequest | ChatRequest | EmbeddingRequest | RerankRequest | ImageRequest
    ) -> NoReturn:
        """Unsupported."""
        raise Unsupported("This process makes a model and answers nothing.")

    def render(self, request: ChatRequest) -> str:
        """Unsupported."""
        raise Unsupported("This process makes a model and answers nothing.")

    def count(self, request: ChatRequest) -> int:
        """Unsupported."""
        raise Unsupported("This process makes a model and answers nothing.")

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Unsupported."""
        raise Unsupported("This process makes a model and answers nothing.")

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Unsupported."""
        raise Unsupported("This process makes a model and answers nothing.")


def convert(folder: Path, output: Path, order: ConversionOrder, report: Report) -> None:
    """Make config.json and weights, in `output`, of the files in the folder of a conversion."""
    config, model = build(folder / SOURCE_FOLDER)
    added = read_added(folder / ADAPTER_FOLDER, model) if order.has_adapter else {}
    made = plan(model, order.kind, added, is_tied=_is_tied(config, model))
    del model, added
    report(0.01)
    write_weights(made.pieces, output, order.most_file_bytes, lambda share: report(0.01 + 0.99 * share))
    if order.kind:
        quantization = settings(order.kind) | dict(exceptions(made.kinds, order.kind))
        # The second name is the one by which others know that a model is quantised.
        config |= {"quantization": quantization, "quantization_config": quantization}
    (output / CONFIG_FILE).write_text(json.dumps(config, indent=1))
    layers = summarise(made.kinds, order.kind) if order.kind else {}
    (folder / REPLY_FILE).write_bytes(encode(ConversionReply(layers=layers)))


def _is_tied(config: Mapping[str, Any], model: nn.Module) -> bool:
    """Whether the embedding makes the logits as well: as the config says, else if there is no layer for them."""
    said = text_part(config).get("tie_word_embeddings", config.get("tie_word_embeddings"))
    if isinstance(said, bool):
        return said
    return not any(path.rpartition(".")[2] == _HEAD for path, _ in model.named_modules())


def _give_way() -> None:
    """Let those who wait for answers go first. On Linux a priority belongs to a thread, and to those that it starts."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.nice(_NICENESS)
