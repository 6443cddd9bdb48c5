"""The demo models that ship inside the package, so that `paddock run demo` and `paddock run demo-image` work before
anything is downloaded.

The folder `training` at the root of the repository holds the scripts that made them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def model_folder() -> Path:
    """The folder with the demo model's files, in the layout of Hugging Face.

    Wheels are always unpacked to be installed, so this is a real folder: MLX can map the weights right from it.
    """
    return _folder("model")


def image_model_folder() -> Path:
    """The folder with the files of the demo model that makes pictures, in the layout of diffusers."""
    return _folder("image")


def _folder(name: str) -> Path:
    return Path(str(resources.files(__package__).joinpath(name)))
