"""Products in strips against MLX's own."""

import mlx.core as mx
import mlx.nn as nn
import pytest

from paddock.runner.engines.text.model import few_rows

INNER, OUTER = 1024, 640


def layers():
    mx.random.seed(3)
    return nn.Linear(INNER, OUTER, bias=True), nn.Embedding(OUTER, INNER), nn.Linear(64, 64), nn.LayerNorm(INNER)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (4, 1), (16, 1), (2, 3), (1, 300), (3,), ()])
@pytest.mark.parametrize("outer", [640, 643, 15])
def test_products_equal_the_whole_matrixs(shape, outer):
    mx.random.seed(1)
    x, weight = mx.random.normal((*shape, INNER)), mx.random.normal((outer, INNER))

    found = few_rows.product(x, weight)

    assert found.shape == (*shape, outer)
    assert mx.abs(found - x @ weight.T).max().item() < 1e-3


def test_no_rows_make_no_products():
    assert few_rows.product(mx.zeros((0, INNER)), mx.zeros((OUTER, INNER))).shape == (0, OUTER)


def test_other_types_than_the_matrixs_are_multiplied_as_mlx_does():
    x, weight = mx.ones((1, INNER), dtype=mx.bfloat16), mx.ones((OUTER, INNER))

    assert few_rows.product(x, weight).tolist() == [[INNER] * OUTER]


def test_only_large_layers_in_single_precision_work_in_strips():
    model = nn.Sequential(*layers(), nn.Linear(INNER, OUTER))
    model.layers[-1].set_dtype(mx.bfloat16)

    few_rows.use_strips(model)

    kinds = [few_rows.StripedLinear, few_rows.StripedEmbedding, nn.Linear, nn.LayerNorm, nn.Linear]
    assert [type(layer) for layer in model.layers] == kinds


def test_layers_in_strips_give_what_they_gave_before():
    model = nn.Sequential(*layers())
    linear, embedding = model.layers[:2]
    x = mx.random.normal((3, 1, INNER))
    expected = linear(x), embedding.as_linear(x), embedding(mx.array([5, 7]))

    few_rows.use_strips(model)

    for found, before in zip((linear(x), embedding.as_linear(x), embedding(mx.array([5, 7]))), expected, strict=True):
        assert mx.abs(found - before).max().item() < 1e-3


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (4, 1), (2, 3), (5,), (2, 2, 2)])
def test_layers_that_are_turned_around_give_what_they_gave_before(shape, has_bias):
    mx.random.seed(5)
    model = nn.Sequential(nn.Linear(64, 48, bias=has_bias))
    [linear] = model.layers
    x = mx.random.normal((*shape, 64))
    expected, weight = linear(x), mx.array(linear.weight)

    few_rows.turn_around(model)

    assert type(linear) is few_rows.TurnedLinear
    assert mx.array_equal(linear.weight, weight)
    assert linear(x).shape == (*shape, 48)
    assert mx.abs(linear(x) - expected).max().item() < 1e-5
    assert set(linear.parameters()) == ({"weight", "bias"} if has_bias else {"weight"})


def test_other_types_are_not_turned_around():
    model = nn.Sequential(nn.Linear(8, 8))
    model.set_dtype(mx.bfloat16)

    few_rows.turn_around(model)

    assert type(model.layers[0]) is nn.Linear
