"""What the user wants of pictures: flags, a picture to repeat, and the request that comes of them. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from paddock.errors import BadRequest

DIGEST_DIGITS = 12


@dataclass(frozen=True)
class Look:
    """How pictures are made. None leaves it to the model."""

    width: int | None = None
    height: int | None = None
    steps: int | None = None
    seed: int | None = None
    """None draws one."""
    negative: str | None = None
    guidance: float | None = None
    strength: float | None = None

    def under(self, other: Look) -> Look:
        """This one, but for what the other says."""
        return replace(self, **{name: value for name, value in asdict(other).items() if value is not None})


DEFAULT_LOOK = Look()


@dataclass(frozen=True)
class PictureFlags:
    """The flags of `paddock run` that are about pictures."""

    look: Look = DEFAULT_LOOK
    count: int | None = None
    output: str | None = None
    """A file, a folder, or - for stdout."""
    images: tuple[str, ...] = ()
    """Files to work from."""
    source: str | None = None
    """A picture to repeat."""

    @property
    def given(self) -> list[str]:
        """The flags that were there, as the user writes them."""
        values = {**asdict(self.look), "n": self.count, "output": self.output, "image": self.images}
        return [f"--{name}" for name, value in {**values, "from": self.source}.items() if value not in (None, ())]


def picture_request(model: str, prompt: str, look: Look, images: Sequence[bytes] = ()) -> dict[str, Any]:
    """The body of /api/generate for one picture, with the fields that have a value."""
    options = _valued(seed=look.seed, guidance=look.guidance, strength=look.strength)
    fields = _valued(width=look.width, height=look.height, steps=look.steps, negative_prompt=look.negative or None)
    if images:
        fields["images"] = [base64.b64encode(image).decode() for image in images]
    if options:
        fields["options"] = options
    return {"model": model, "prompt": prompt, **fields}


def _valued(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def repeated(details: Mapping[str, str | int | float], name: str, has_images: bool) -> tuple[str, Look]:
    """The prompt and the look of a picture, from what the file called `name` tells about it.

    BadRequest if it was made from pictures and none are given now.
    """
    count = details.get("images")
    if isinstance(count, int) and count > 0 and not has_images:
        pictures = "a picture: give it" if count == 1 else f"{count} pictures: give them"
        raise BadRequest(f"{name} was made from {pictures} again with --image.")
    look = Look(
        width=_whole(details, "width"),
        height=_whole(details, "height"),
        steps=_whole(details, "steps"),
        seed=_whole(details, "seed"),
        negative=_text(details, "negative_prompt"),
        guidance=_number(details, "guidance"),
        strength=_number(details, "strength"),
    )
    return _text(details, "prompt") or "", look


def other_model_warning(details: Mapping[str, str | int | float], name: str, model: str, digest: str) -> str:
    """A line where a picture is repeated by another model than the one that made it; empty where it is the same, or
    where that cannot be told."""
    former = (_text(details, "model_digest") or "").removeprefix("sha256:")
    present = digest.removeprefix("sha256:")
    if not former or not present or former == present:
        return ""
    maker = _text(details, "model") or "a model"
    return (
        f"Warning: {name} was made by {maker} ({former[:DIGEST_DIGITS]}), not by {model} as it is now "
        f"({present[:DIGEST_DIGITS]}): the picture will differ.\n"
    )


def _whole(details: Mapping[str, str | int | float], name: str) -> int | None:
    value = details.get(name)
    return value if isinstance(value, int) else None


def _number(details: Mapping[str, str | int | float], name: str) -> float | None:
    value = details.get(name)
    return None if isinstance(value, str) else value


def _text(details: Mapping[str, str | int | float], name: str) -> str | None:
    value = details.get(name)
    return value if isinstance(value, str) else None


NO_FLAGS = PictureFlags()
