"""The parts of one model in memory: all of them, or the text encoder and the transformer one at a time.

Used by the thread that owns MLX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn

from paddock.errors import DamagedModel
from paddock.runner.engines.base import Report
from paddock.runner.engines.image import weights
from paddock.runner.engines.image.families import Family
from paddock.runner.engines.image.folder import AUTOENCODER, TEXT_ENCODER, TRANSFORMER, ModelFolder
from paddock.runner.engines.image.qwen3_encoder import TextEncoder, checkpoint_name
from paddock.runner.engines.image.vae import Autoencoder
from paddock.runner.engines.stored_tensors import is_stored_by_tensor, pack_as_stored
from paddock.runner.engines.text.model.loading import unpack

_STATISTICS = frozenset({"bn.running_mean", "bn.running_var"})
_COUNTER = "bn.num_batches_tracked"

Part = TypeVar("Part", bound=nn.Module)


def compute_type() -> mx.Dtype:
    """What weights are turned into: half precision, save on the CPU, where that takes MLX several times as long."""
    return mx.float32 if mx.default_device() == mx.cpu else mx.bfloat16


class Parts:
    """Text encoder, transformer and autoencoder of one folder."""

    def __init__(self, folder: ModelFolder, family: Family, *, staged: bool, keep_packed: bool = False) -> None:
        """`staged`: the text encoder and the transformer are never in memory together; each is read when it is needed
        and takes the other's place. `keep_packed`: on the CPU too, quantised weights stay as they are stored."""
        self._folder = folder
        self._family = family
        self._staged = staged
        self._kind = compute_type()
        # On the CPU MLX computes with packed weights many times slower than with float32.
        self._unpacks = mx.default_device() == mx.cpu and not keep_packed
        self._text_encoder: TextEncoder | None = None
        self._transformer: nn.Module | None = None
        self._autoencoder: Autoencoder | None = None
        self._vocabulary = 0
        self._sizes_bytes: dict[str, int] = {}

    @property
    def weights_bytes(self) -> int:
        """Most that weights may hold together."""
        encoder, transformer = (self._sizes_bytes[part] for part in (TEXT_ENCODER, TRANSFORMER))
        together = max(encoder, transformer) if self._staged else encoder + transformer
        return together + self._sizes_bytes[AUTOENCODER]

    @property
    def vocabulary(self) -> int:
        """Token ids that the text encoder has rows for; known after `load`."""
        return self._vocabulary

    def load(self, report: Report) -> None:
        """Check all parts and read those that are in memory first. DamagedModel or UnsupportedModel."""
        autoencoder, encoder, transformer = self._new_autoencoder(), self._new_text_encoder(), self._new_transformer()
        self._vocabulary = encoder.vocabulary
        parts: list[tuple[str, nn.Module]] = [(AUTOENCODER, autoencoder), (TEXT_ENCODER, encoder)]
        self._autoencoder, self._text_encoder = autoencoder, encoder
        if not self._staged:
            parts.append((TRANSFORMER, transformer))
            self._transformer = transformer
        self._sizes_bytes = {TRANSFORMER: _size_bytes(transformer), TEXT_ENCODER: _size_bytes(encoder)}
        total_bytes = sum(_size_bytes(module) for _, module in parts)
        done_bytes = 0
        for name, module in parts:
            self._sizes_bytes[name] = weights.bring_in(module, _shared(report, done_bytes, total_bytes))
            done_bytes += self._sizes_bytes[name]

    def has(self, part: str) -> bool:
        """Whether a part is in memory."""
        held = {TEXT_ENCODER: self._text_encoder, TRANSFORMER: self._transformer, AUTOENCODER: self._autoencoder}
        return held[part] is not None

    @property
    def autoencoder(self) -> Autoencoder:
        """It is small and always there."""
        assert self._autoencoder is not None, "parts are asked for before they are loaded"
        return self._autoencoder

    def text_encoder(self) -> TextEncoder:
        """The text encoder, read first if it is not there."""
        if self._text_encoder is None:
            self._transformer = None
            self._text_encoder = self._read(self._new_text_encoder)
        return self._text_encoder

    def transformer(self) -> nn.Module:
        """The transformer, read first if it is not there."""
        if self._transformer is None:
            self._text_encoder = None
            self._transformer = self._read(self._new_transformer)
        return self._transformer

    def _read(self, make: Callable[[], Part]) -> Part:
        # What had the place before has to be gone before the new one comes.
        mx.clear_cache()
        module = make()
        weights.bring_in(module, lambda _done_bytes: None)
        return module

    def _new_text_encoder(self) -> TextEncoder:
        config = self._folder.configs[TEXT_ENCODER]

        def build() -> TextEncoder:
            return TextEncoder(config, self._family.text_states)

        encoder = _built(TEXT_ENCODER, build)
        tensors = weights.read_part(self._folder.path, TEXT_ENCODER)
        return self._filled(TEXT_ENCODER, encoder, weights.rename(tensors, checkpoint_name, encoder.needs))

    def _new_transformer(self) -> nn.Module:
        transformer = _built(TRANSFORMER, self._family.new_transformer)
        return self._filled(TRANSFORMER, transformer, weights.read_part(self._folder.path, TRANSFORMER))

    def _new_autoencoder(self) -> Autoencoder:
        autoencoder = _built(AUTOENCODER, self._family.new_autoencoder)
        tensors = weights.read_part(self._folder.path, AUTOENCODER)
        tensors.pop(_COUNTER, None)
        return self._filled(AUTOENCODER, autoencoder, tensors)

    def _filled(self, part: str, module: Part, tensors: weights.Tensors) -> Part:
        config: Any = self._folder.configs[part] if part != AUTOENCODER else {}
        if is_stored_by_tensor(self._folder.path, part):
            pack_as_stored(module, tensors, {})
        else:
            weights.pack(module, config, tensors)
        weights.fill(module, tensors, part=part, kind=self._kind, kept=_STATISTICS)
        if self._unpacks:
            unpack(module)
        return module


def _built(part: str, build: Callable[[], Part]) -> Part:
    try:
        return build()
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError):
        raise DamagedModel(f"The sizes in {part}/config.json are wrong: pull or create the model again.") from None


def _shared(report: Report, before_bytes: int, total_bytes: int) -> Callable[[int], None]:
    """Tells bytes that are read of one part as a share of all."""
    return lambda done_bytes: report((before_bytes + done_bytes) / max(1, total_bytes))


def _size_bytes(module: nn.Module) -> int:
    return sum(array.nbytes for array in weights.arrays_of(module))
