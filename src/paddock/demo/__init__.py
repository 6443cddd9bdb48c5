"""The demo model that ships inside the package, so that `paddock run demo` works before anything is downloaded.

The folder `training` at the root of the repository holds the script that made it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def model_folder() -> Path:
    """The folder with the demo model's files, in the layout of Hugging Face.

    Wheels are always unpacked to be installed, so this is a real folder: MLX can map the weights right from it.
    """
    return Path(str(resources.files(__package__).joinpath("model")))
