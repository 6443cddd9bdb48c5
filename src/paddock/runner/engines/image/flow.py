"""The noise schedule of flow matching with Euler steps, as the model's own scheduler_config.json sets it. Pure.

Formulas are those of diffusers' FlowMatchEulerDiscreteScheduler: x = (1 - sigma) * picture + sigma * noise, and the
model predicts dx / dsigma.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from paddock.errors import DamagedModel, UnsupportedModel

Sigmas = npt.NDArray[np.float32]

_CLASS = "FlowMatchEulerDiscreteScheduler"
_NOT_DONE = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_flow_sigmas",
    "stochastic_sampling",
)
_SHIFTS = ("exponential", "linear")


@dataclass(frozen=True)
class Flow:
    """What scheduler_config.json says. Names and defaults are diffusers'."""

    num_train_timesteps: int = 1000
    shift: float = 1.0
    use_dynamic_shifting: bool = False
    base_shift: float = 0.5
    max_shift: float = 1.15
    base_image_seq_len: int = 256
    max_image_seq_len: int = 4096
    invert_sigmas: bool = False
    shift_terminal: float | None = None
    time_shift_type: str = "exponential"


def read_flow(config: Mapping[str, Any]) -> Flow:
    """The schedule of a scheduler_config.json. UnsupportedModel for a kind of schedule that is not done here."""
    if config.get("_class_name", _CLASS) != _CLASS:
        raise UnsupportedModel(f"The scheduler {config['_class_name']} is not supported by this version of Paddock.")
    for key in _NOT_DONE:
        if config.get(key):
            raise UnsupportedModel(f"The schedule of this model ({key}) is not supported by this version of Paddock.")
    known = {name: config[name] for name in Flow.__dataclass_fields__ if config.get(name) is not None}
    flow = Flow(**known)
    numbers = (flow.num_train_timesteps, flow.shift, flow.base_shift, flow.max_shift, flow.shift_terminal or 0.0)
    lengths = (flow.base_image_seq_len, flow.max_image_seq_len)
    if not all(isinstance(value, int | float) for value in (*numbers, *lengths)) or lengths[0] == lengths[1]:
        raise DamagedModel("The numbers in scheduler_config.json are wrong: pull or create the model again.")
    if flow.time_shift_type not in _SHIFTS:
        raise UnsupportedModel(f'The time shift "{flow.time_shift_type}" is not supported by this version of Paddock.')
    return flow


def linear_mu(flow: Flow, image_tokens: int) -> float:
    """The shift of a picture of so many tokens, on the line through the configured lengths and shifts (Z-Image)."""
    slope = (flow.max_shift - flow.base_shift) / (flow.max_image_seq_len - flow.base_image_seq_len)
    return image_tokens * slope + flow.base_shift - slope * flow.base_image_seq_len


def empirical_mu(image_tokens: int, steps: int) -> float:
    """The shift that FLUX.2's authors found: one line over the tokens for 10 steps and one for 200, and what lies
    between by the number of steps; from 4300 tokens on only the latter."""
    at_200_steps = 0.00016927 * image_tokens + 0.45666666
    if image_tokens > 4300:
        return at_200_steps
    at_10_steps = 8.73809524e-05 * image_tokens + 1.89833333
    slope = (at_200_steps - at_10_steps) / 190.0
    return slope * steps + at_200_steps - 200.0 * slope


def make_sigmas(flow: Flow, steps: int, mu: float) -> Sigmas:
    """Noise levels, steps + 1 of them: from 1 down to 0 (upwards where the config inverts them). float32.

    `mu` counts only with dynamic shifting.
    """
    sigmas = np.linspace(1.0, 1.0 / steps, steps).astype(np.float32)
    if flow.use_dynamic_shifting:
        factor = math.exp(mu) if flow.time_shift_type == "exponential" else mu
        sigmas = (factor / (factor + (1.0 / sigmas - 1.0))).astype(np.float32)
    else:
        sigmas = (flow.shift * sigmas / (1.0 + (flow.shift - 1.0) * sigmas)).astype(np.float32)
    if flow.shift_terminal and sigmas[-1] < 1.0:
        rest = 1.0 - sigmas
        sigmas = (1.0 - rest * ((1.0 - flow.shift_terminal) / rest[-1])).astype(np.float32)
    if flow.invert_sigmas:
        return np.append(np.float32(1.0) - sigmas, np.float32(1.0))
    return np.append(sigmas, np.float32(0.0))


def first_step(steps: int, strength: float) -> int:
    """The step at which a given picture enters: `strength` 1 goes through all steps, less starts later."""
    return int(max(steps - min(steps * strength, steps), 0))
