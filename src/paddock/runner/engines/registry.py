"""Which class runs which kind of model. An engine, and MLX with it, is imported only when it is the one asked for."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable

from paddock.errors import UnsupportedModel
from paddock.runner import blas
from paddock.runner.engines.base import Engine, EngineOptions
from paddock.runner.hygiene import file_limit_kept, has_cuda_wheel

_ENGINES = {
    "text": ("paddock.runner.engines.text.engine", "TextEngine"),
    "embedding": ("paddock.runner.engines.embedding.engine", "EmbeddingEngine"),
    "image": ("paddock.runner.engines.image.engine", "ImageEngine"),
    "conversion": ("paddock.runner.engines.conversion.engine", "ConversionEngine"),
}


def make_engine(kind: str, options: EngineOptions) -> Engine:
    """A fresh engine of a kind, not loaded yet. UnsupportedModel for a kind that this version does not have."""
    if kind not in _ENGINES:
        raise UnsupportedModel(f'This version of Paddock cannot run models of the kind "{kind}" yet.')
    engine: Engine = import_engine(kind)(options)
    return engine


def import_engine(kind: str) -> Callable[[EngineOptions], Engine]:
    """The class of a known kind, and with it MLX and all else that it needs."""
    module_name, class_name = _ENGINES[kind]
    with file_limit_kept():
        engine_class: Callable[[EngineOptions], Engine] = getattr(importlib.import_module(module_name), class_name)
    choose_blas()
    return engine_class


@functools.cache
def choose_blas() -> str:
    """What MLX's products on the CPU run on from here on, by name; once per process, after MLX was imported."""
    return blas.install(os.environ, has_cuda=has_cuda_wheel())
