"""PNG files that tell how they were made; `paddock.pictures` reads that again. It knows no MLX."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

from PIL import Image, PngImagePlugin

from paddock.runner.engines.base import Pixels

Details = Mapping[str, str | int | float]

DETAILS_KEY = "paddock"
PARAMETERS_KEY = "parameters"
"""Under which picture viewers and other programs look for a text to show."""
_LABELS = {
    "steps": "Steps",
    "seed": "Seed",
    "guidance": "Guidance",
    "strength": "Strength",
    "model": "Model",
    "model_digest": "Model digest",
    "version": "Version",
}


def write_png(pixels: Pixels, details: Details | None = None) -> bytes:
    """A PNG file of a picture: the same pixels and details give the same bytes.

    Details are in it twice: as JSON under "paddock", and as text for people under "parameters".
    """
    texts = PngImagePlugin.PngInfo()
    if details is not None:
        texts.add_itxt(PARAMETERS_KEY, parameters(details))
        texts.add_itxt(DETAILS_KEY, json.dumps(dict(details), ensure_ascii=False, sort_keys=True))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", pnginfo=texts)
    return file.getvalue()


def parameters(details: Details) -> str:
    """The details as people read them: the prompt, the negative prompt, and a line of the rest."""
    lines = [str(details.get("prompt", ""))]
    if negative := details.get("negative_prompt"):
        lines.append(f"Negative prompt: {negative}")
    rest = [f"{label}: {details[name]}" for name, label in _LABELS.items() if details.get(name, "") != ""]
    if "width" in details and "height" in details:
        rest.insert(1, f"Size: {details['width']}x{details['height']}")
    return "\n".join([*lines, ", ".join(rest)])
