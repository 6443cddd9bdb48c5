"""Which class runs which kind of model. An engine, and MLX with it, is imported only when it is the one asked for."""

from __future__ import annotations

import importlib

from paddock.errors import UnsupportedModel
from paddock.runner.engines.base import Engine, EngineOptions
from paddock.runner.hygiene import file_limit_kept

_ENGINES = {"text": ("paddock.runner.engines.text.engine", "TextEngine")}


def make_engine(kind: str, options: EngineOptions) -> Engine:
    """A fresh engine of a kind, not loaded yet. UnsupportedModel for a kind that this version does not have."""
    if kind not in _ENGINES:
        raise UnsupportedModel(f'This version of Paddock cannot run models of the kind "{kind}" yet.')
    module_name, class_name = _ENGINES[kind]
    with file_limit_kept():
        engine_class = getattr(importlib.import_module(module_name), class_name)
    engine: Engine = engine_class(options)
    return engine
