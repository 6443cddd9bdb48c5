"""Where the Hub is, and what this machine has of it already: Hugging Face's own settings, read by its own library."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from paddock.errors import NoAccess
from paddock.store.transfer.ranges import PART_BYTES

_LM_STUDIO_FOLDERS = (".lmstudio/models", ".cache/lm-studio/models")
"""Below a home folder, LM Studio's present and its former one; models are in `ORG/REPO` there."""


@dataclass(frozen=True)
class HubSettings:
    """What a pull needs to know of Hugging Face's settings."""

    endpoint: str = "https://huggingface.co"
    """Without a slash at its end; `HF_ENDPOINT`."""
    token: str = field(default="", repr=False)
    """Sent to the endpoint's own origin only; empty for none."""
    is_offline: bool = False
    """`HF_HUB_OFFLINE`: only what this machine has is used."""
    cache: Path | None = None
    """The folder of Hugging Face's downloads; `HF_HUB_CACHE`."""
    model_folders: tuple[Path, ...] = ()
    """Folders of other programs with models in `ORG/REPO`."""
    backoff_seconds: float = 0.5
    """The first pause before something is tried again; it doubles."""
    stall_seconds: float = 30.0
    """How long no byte may come before the connection is given up."""
    part_bytes: int = PART_BYTES
    """What is fetched of a large file at once."""


def read_hub_settings() -> HubSettings:
    """The settings as Hugging Face's library finds them: its variables, its token file. Blocks, as a token may have to
    be renewed, and is imported only here, because the import takes a while. NoAccess if a token cannot be had."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import OIDCError

    try:
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    except (OSError, ValueError, OIDCError):
        raise NoAccess("The token for the Hugging Face Hub cannot be read: log in anew with `hf auth login`.") from None
    homes = (Path.home() / folder for folder in _LM_STUDIO_FOLDERS)
    return HubSettings(
        endpoint=constants.ENDPOINT,
        token=token or "",
        is_offline=constants.HF_HUB_OFFLINE,
        cache=Path(os.path.expandvars(constants.HF_HUB_CACHE)),
        model_folders=tuple(folder for folder in homes if folder.is_dir()),
    )
