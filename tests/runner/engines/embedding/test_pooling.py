from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from paddock.runner.engines.embedding.pooling import pooled

STATES = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3) ** 1.5 * np.array([1, -1, 1], np.float32)
LENGTHS = (4, 2)


def by_hand(name: str, states: np.ndarray) -> np.ndarray:
    """One text without padding."""
    weights = np.arange(1, len(states) + 1)[:, None]
    return {
        "cls": states[0],
        "lasttoken": states[-1],
        "max": states.max(axis=0),
        "mean": states.mean(axis=0),
        "mean_sqrt_len_tokens": states.sum(axis=0) / np.sqrt(len(states)),
        "weightedmean": (states * weights).sum(axis=0) / weights.sum(),
    }[name]


@pytest.mark.parametrize("name", ["cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "weightedmean"])
def test_padding_is_no_part_of_a_text(name: str) -> None:
    got = np.array(pooled(mx.array(STATES), mx.array(LENGTHS), [name]))

    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(got[row], by_hand(name, STATES[row, :length]), rtol=1e-5)


def test_several_ways_stand_side_by_side() -> None:
    got = np.array(pooled(mx.array(STATES), mx.array(LENGTHS), ["cls", "max"]))

    assert got.shape == (2, 6)
    np.testing.assert_allclose(got[0, :3], STATES[0, 0])
