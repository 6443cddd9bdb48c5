"""The demo models that ship in the package, as models of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from paddock import demo
from paddock.store.create import CreateSpec, import_folder
from paddock.store.library import Library, StoredModel
from paddock.store.names import ModelName

DEMO_NAME = ModelName.parse("demo")
DEMO_IMAGE_NAME = ModelName.parse("demo-image")


@dataclass(frozen=True)
class _Packaged:
    """Where a model's files are, and what else it is stored with."""

    folder: Callable[[], Path]
    spec: CreateSpec


# A model as small as the first loses its thread at the temperature that suits large ones, and may then never end.
_PACKAGED: Mapping[ModelName, _Packaged] = MappingProxyType(
    {
        DEMO_NAME: _Packaged(
            demo.model_folder, CreateSpec(DEMO_NAME, parameters={"temperature": 0.3, "num_predict": 512})
        ),
        DEMO_IMAGE_NAME: _Packaged(demo.image_model_folder, CreateSpec(DEMO_IMAGE_NAME)),
    }
)
PACKAGED_NAMES = tuple(_PACKAGED)


def install_demo(library: Library, report: Callable[[str], None], name: ModelName = DEMO_NAME) -> StoredModel:
    """Put one of the demo models into the store, telling each step."""
    packaged = _PACKAGED[name]
    return import_folder(library, name, packaged.folder(), packaged.spec, report)


def install_demo_into_new_store(library: Library) -> None:
    """Give a newcomer something to run. A store that holds models, or once did, is left as its owner has it."""
    if library.is_new:
        for name in PACKAGED_NAMES:
            install_demo(library, lambda _status: None, name)
