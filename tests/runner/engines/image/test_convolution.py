"""Bands give the numbers of the whole, in a fraction of the memory."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from paddock.runner.engines.image import convolution
from paddock.runner.engines.image.convolution import Convolution, Doubling, GroupNorm, Halving, Pointwise, bands_of
from paddock.runner.engines.image.layers import finish
from paddock.runner.engines.image.vae import Autoencoder, VaeConfig


@pytest.fixture(autouse=True)
def _on_the_cpu_in_narrow_bands(monkeypatch):
    monkeypatch.setattr(convolution, "_BAND_VALUES", 9 * 6 * 11 * 4)


@pytest.fixture
def cells() -> mx.array:
    return mx.random.normal((2, 22, 11, 6), key=mx.random.key(3)) * 3.0 + 5.0


def assert_equal(ours: mx.array, expected: mx.array) -> None:
    assert ours.shape == expected.shape
    assert np.abs(np.array(ours) - np.array(expected)).max() < 1e-4


def plain(layer: nn.Conv2d, cells: mx.array, **options: object) -> mx.array:
    return mx.conv2d(cells, layer.weight, **options) + layer.bias


@pytest.mark.parametrize("height", [1, 2, 3, 21, 22])
def test_bands_cover_all_rows_and_begin_at_even_ones(height):
    bands = bands_of(height, 500)

    assert [row for start, end in bands for row in range(start, end)] == list(range(height))
    assert all(start % 2 == 0 for start, _ in bands)


@pytest.mark.parametrize("height", [1, 5, 22])
def test_a_convolution_in_bands_is_the_whole_one(cells, height):
    layer = Convolution(6, 5)

    assert_equal(layer(cells[:, :height]), plain(layer, cells[:, :height], padding=1))


def test_a_pointwise_convolution_is_one(cells):
    layer = Pointwise(6, 5)

    assert_equal(layer(cells), plain(layer, cells))


@pytest.mark.parametrize(("height", "width"), [(22, 11), (21, 10), (4, 4)])
def test_halving_pads_at_the_right_and_below(cells, height, width):
    layer, picture = Halving(6), cells[:, :height, :width]
    padded = mx.pad(picture, [(0, 0), (0, 1), (0, 1), (0, 0)])

    assert_equal(layer(picture), plain(layer.conv, padded, stride=2))


@pytest.mark.parametrize("height", [1, 3, 22])
def test_doubling_repeats_each_cell(cells, height):
    layer, picture = Doubling(6), cells[:, :height]
    doubled = mx.repeat(mx.repeat(picture, 2, axis=1), 2, axis=2)

    assert_equal(layer(picture), plain(layer.conv, doubled, padding=1))


def test_a_norm_in_bands_is_the_whole_one(cells):
    layer, expected = GroupNorm(6, 3), nn.GroupNorm(3, 6, eps=1e-6, pytorch_compatible=True)
    layer.weight = expected.weight = mx.random.normal((6,))
    layer.bias = expected.bias = mx.random.normal((6,))

    assert_equal(layer(cells), expected(cells))
    assert_equal(layer.active_rows(cells)(3, 9), nn.silu(expected(cells))[:, 3:9])


def test_decoding_needs_about_five_times_its_widest_cells(monkeypatch):
    """MLX's own layers took 77 times as much."""
    monkeypatch.setattr(convolution, "_BAND_VALUES", 100_000)
    side, width = 128, 16
    model = Autoencoder(VaeConfig(block_out_channels=(width, 32, 32), norm_num_groups=8))
    latents = mx.zeros((1, side // 4, side // 4, 4))
    mx.eval(model.parameters(), latents)
    mx.clear_cache()
    before_bytes = mx.get_active_memory()
    mx.reset_peak_memory()

    mx.eval(finish(model.decode(latents)))

    assert mx.get_peak_memory() - before_bytes < 6 * side * side * width * 4
