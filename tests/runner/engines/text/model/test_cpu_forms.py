"""The cheaper forms against MLX's own."""

import itertools

import mlx.core as mx
import pytest

from paddock.runner.engines.text.model import cpu_forms
from paddock.runner.engines.text.model.cpu_forms import Attention, RmsNorm, Rope


def own(operation):
    """MLX's own, even where an engine in this process has put another in its place."""
    return getattr(operation, "original", operation)


ROPE, ATTENTION = own(mx.fast.rope), own(mx.fast.scaled_dot_product_attention)
NORM = own(mx.fast.rms_norm)
KINDS = list(itertools.product((1, 3), (32, 16), (False, True), (False, True)))


@pytest.mark.parametrize(("sequences", "dims", "traditional", "has_freqs"), KINDS)
def test_rotations_equal_mlxs_own_at_every_position(sequences, dims, traditional, has_freqs):
    mx.random.seed(1)
    freqs = mx.random.uniform(1, 100, (dims // 2,)) if has_freqs else None
    kind = {"traditional": traditional, "base": None if has_freqs else 1e4, "scale": 0.5, "freqs": freqs}
    rope = Rope(ROPE)
    for offset in (0, 7, mx.array([3, 900, 77][:sequences]), 7, mx.array([4, 901, 78][:sequences]), 1500):
        heads = mx.random.normal((sequences, 1, 4, 32)).transpose(0, 2, 1, 3)

        found = rope(heads, dims, offset=offset, **kind)

        assert found.shape == heads.shape
        assert mx.abs(found - ROPE(heads, dims, offset=offset, **kind)).max().item() < 2e-4


@pytest.mark.parametrize("shape", [(1, 4, 5, 32), (4, 1, 32)])
def test_everything_but_single_tokens_goes_mlxs_own_way(shape):
    calls = []
    rope = Rope(lambda *arguments, **_more: calls.append(arguments[0].shape))

    rope(mx.zeros(shape), 32, traditional=False, base=1e4, scale=1.0, offset=3)
    rope(mx.zeros((1, 4, 1, 32), dtype=mx.bfloat16), 32, traditional=False, base=1e4, scale=1.0, offset=3)

    assert calls == [shape, (1, 4, 1, 32)]


@pytest.mark.parametrize("sequences", [1, 5])
@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_norms_of_one_token_equal_mlxs_own(sequences, eps):
    mx.random.seed(4)
    norm = RmsNorm(lambda *_arguments, **_more: pytest.fail("went MLX's own way"))
    weight = mx.random.normal((96,))
    for size in (1e-3, 1.0, 1e3):
        tokens = size * mx.random.normal((sequences, 1, 96))

        found = norm(tokens, weight, eps)

        assert mx.abs(found - NORM(tokens, weight, eps)).max().item() < 1e-5


@pytest.mark.parametrize("shape", [(1, 4, 96), (96,), (1, 1, 2, 96)])
def test_norms_of_anything_else_go_mlxs_own_way(shape):
    calls = []
    norm = RmsNorm(lambda tokens, *_arguments, **_more: calls.append(tokens.shape))

    norm(mx.zeros(shape), mx.ones(96), 1e-6)
    norm(mx.zeros((1, 1, 96)), None, 1e-6)
    norm(mx.zeros((1, 1, 96), dtype=mx.bfloat16), mx.ones(96), 1e-6)
    norm(mx.zeros((1, 1, 96)), mx.ones(96), eps=1e-6, stream=mx.cpu)

    assert calls == [shape, (1, 1, 96), (1, 1, 96), (1, 1, 96)]


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("has_mask", [False, True])
def test_attention_equals_mlxs_own(groups, has_mask):
    mx.random.seed(2)
    queries = mx.random.normal((3, 8, 1, 32))
    keys, values = mx.random.normal((3, groups, 60, 32))[:, :, :50], mx.random.normal((3, groups, 50, 16))
    mask = (mx.arange(50)[None] >= mx.array([0, 20, 49])[:, None])[:, None, None] if has_mask else None

    found = Attention(ATTENTION)(queries, keys, values, scale=0.2, mask=mask)

    assert mx.abs(found - ATTENTION(queries, keys, values, scale=0.2, mask=mask)).max().item() < 1e-5


def test_attention_of_other_kinds_goes_mlxs_own_way():
    calls = []
    attention = Attention(lambda *_arguments, **more: calls.append(sorted(more)))
    one, many = mx.zeros((1, 2, 1, 8)), mx.zeros((1, 2, 4, 8))

    attention(many, many, many, scale=1.0, mask=mx.zeros((4, 4)))
    attention(many.astype(mx.bfloat16), many, many, scale=1.0, mask="causal")
    attention(one, many, many, scale=1.0, mask=mx.zeros((1, 2, 1, 4)))
    attention(one, many, many, scale=1.0, mask=None, sinks=mx.zeros((2,)))

    assert calls == [["mask", "scale"]] * 3 + [["mask", "scale", "sinks"]]


@pytest.mark.parametrize("mask", [None, "causal", "window", "padding"])
@pytest.mark.parametrize("block_scores", [1 << 20, 1 << 9])
def test_attention_of_a_chunk_equals_mlxs_own_whole_and_in_blocks(monkeypatch, mask, block_scores):
    monkeypatch.setattr(cpu_forms, "_BLOCK_SCORES", block_scores)
    mx.random.seed(3)
    queries = mx.random.normal((2, 4, 23, 16))
    keys, values = mx.random.normal((2, 2, 64, 16))[:, :, :50], mx.random.normal((2, 2, 64, 8))[:, :, :50]
    places, seen = mx.arange(27, 50)[:, None], mx.arange(50)[None]
    window = (places >= seen) & (places < seen + 9)
    masks = {"window": window, "padding": (window[None] & (seen >= mx.array([[0], [31]])[..., None]))[:, None]}
    mask = masks.get(mask, mask)

    found = Attention(ATTENTION)(queries, keys, values, scale=0.3, mask=mask)

    expected = ATTENTION(queries, keys, values, scale=0.3, mask=mask)
    some = mx.isfinite(expected)  # a token of padding that may see nothing is nobody's
    assert mx.abs(mx.where(some, found - expected, 0)).max().item() < 1e-5
    assert mx.isfinite(found).all().item()


@pytest.mark.parametrize("name", ["softmax", "exp", "sigmoid", "tanh"])
def test_operations_made_of_exponentials_equal_mlxs_own(monkeypatch, name):
    own_operation = own(getattr(mx, name))
    for each in ("softmax", "exp", "sigmoid", "tanh"):
        monkeypatch.setattr(mx, each, own(getattr(mx, each)))
    cpu_forms.install()
    more = {"axis": -1} if name == "softmax" else {}
    values = mx.concatenate([mx.linspace(-80, 80, 999), mx.array([-1e30, 0.0, 1e-4])]).reshape(3, -1)

    found, expected = getattr(mx, name)(values, **more), own_operation(values, **more)

    assert mx.allclose(found, expected, rtol=1e-5, atol=2e-7).item()
    half = values.astype(mx.float16)
    assert mx.array_equal(getattr(mx, name)(half, **more), own_operation(half, **more)).item()


def test_installing_twice_replaces_what_was_installed(monkeypatch):
    monkeypatch.setattr(mx.fast, "rope", ROPE)
    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", ATTENTION)
    for name in ("softmax", "exp", "sigmoid", "tanh"):
        monkeypatch.setattr(mx, name, own(getattr(mx, name)))

    cpu_forms.install()
    first = mx.fast.rope
    cpu_forms.install()

    assert mx.fast.rope is not first
    assert mx.fast.rope.original is ROPE
    assert mx.fast.scaled_dot_product_attention.original is ATTENTION
