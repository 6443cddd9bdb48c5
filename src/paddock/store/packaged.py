"""The demo model that ships in the package, as a model of the store."""

from __future__ import annotations

from collections.abc import Callable

from paddock import demo
from paddock.store.create import CreateSpec, import_folder
from paddock.store.library import Library, StoredModel
from paddock.store.names import ModelName

DEMO_NAME = ModelName.parse("demo")
_DEMO = CreateSpec(DEMO_NAME, parameters={"temperature": 0.3, "num_predict": 512})
"""A model this small loses its thread at the temperature that suits large ones, and may then never end."""


def install_demo(library: Library, report: Callable[[str], None]) -> StoredModel:
    """Put the demo model into the store, telling each step."""
    return import_folder(library, DEMO_NAME, demo.model_folder(), _DEMO, report)


def install_demo_into_new_store(library: Library) -> None:
    """Give a newcomer something to run. A store that holds models, or once did, is left as its owner has it."""
    if library.is_new:
        install_demo(library, lambda _status: None)
