"""The `options` of a request to an image model, checked: those of a picture, and those of its runner. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from paddock.errors import InvalidOption, Unsupported
from paddock.options import PICTURE_OPTIONS, Source, parse_options

_OF_PICTURES = ("guidance", "strength")


@dataclass(frozen=True)
class PictureOptions:
    """What options settle; None leaves it to the model."""

    seed: int = -1
    guidance: float | None = None
    strength: float | None = None
    num_gpu: int | None = None
    num_thread: int | None = None


def picture_options(parameters: Mapping[str, object], options: Mapping[str, object]) -> PictureOptions:
    """The options of a request over the parameters of its model. InvalidOption for what is unknown or makes no sense,
    Unsupported for an option that only texts have."""
    return PictureOptions(**_checked(parameters, "parameter") | _checked(options, "option"))  # type: ignore[arg-type]


def _checked(given: Mapping[str, object], source: Source) -> dict[str, int | float]:
    own = {name: _number(name, given[name], source) for name in _OF_PICTURES if given.get(name) is not None}
    parsed = parse_options({name: value for name, value in given.items() if name not in _OF_PICTURES}, source=source)
    found = {**parsed.sampling_overrides, **parsed.runner_overrides}
    for name in found:
        if name not in PICTURE_OPTIONS:
            raise Unsupported(f'{source} "{name}" is for texts, and this model makes pictures: leave it out.')
    return {**own, **{name: int(value) for name, value in found.items() if isinstance(value, int | float)}}


def _number(name: str, value: object, source: Source) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidOption(f'{source} "{name}" must be of type float32')
    if not math.isfinite(value):
        raise InvalidOption(f'{source} "{name}" must be a finite number.')
    return float(value)
