"""What can be refused of a model before its weights are here. All of it is looked at again, with them, when it is
stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paddock.vetting.image_folder import INDEX_FILE, read_image_configs
from paddock.vetting.model_config import CONFIG_FILE, check_config, read_config
from paddock.vetting.settings import check_settings


def check_early(paths: Mapping[str, Path]) -> None:
    """InvalidModelFiles or UnsupportedModel for what a model's small files say, by name."""
    if INDEX_FILE in paths:
        read_image_configs(paths)
    elif CONFIG_FILE in paths:
        check_settings(paths)
        check_config(read_config(paths[CONFIG_FILE]))
