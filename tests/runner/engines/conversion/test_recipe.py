"""Which layers are quantised how."""

from __future__ import annotations

import pytest

from paddock.protocol.conversion import PACKINGS, SOURCE
from paddock.runner.engines.conversion.recipe import Layer, exceptions, kind_of, settings, summarise


def kind(path: str, wanted: str = "int4", *, width: int = 256, is_tied: bool = False, **said: object) -> str:
    return kind_of(Layer(path, width, width * width, **said), wanted, is_tied=is_tied)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("model.layers.0.self_attn.q_proj", "int4"),
        ("model.layers.0.self_attn.o_proj", "int4"),
        ("model.layers.0.self_attn.k_proj", "int8"),
        ("model.layers.11.self_attn.v_proj", "int8"),
        ("model.layers.3.mlp.down_proj", "int8"),
        ("model.layers.3.mlp.switch_mlp.down_proj", "int8"),
        ("model.layers.3.mlp.gate_proj", "int4"),
        ("lm_head", "int8"),
        ("language_model.lm_head", "int8"),
        ("model.layers.3.mlp.gate", SOURCE),
        ("model.layers.3.block_sparse_moe.router.layer", SOURCE),
        ("model.layers.3.mlp.shared_expert_gate", SOURCE),
    ],
)
def test_what_is_felt_most_keeps_more_bits(path, found):
    assert kind(path) == found


def test_an_embedding_is_in_eight_bits_where_it_makes_the_logits_too():
    assert kind("model.embed_tokens", is_embedding=True, is_tied=True) == "int8"
    assert kind("model.embed_tokens", is_embedding=True) == "int4"


@pytest.mark.parametrize(("wanted", "higher"), [("int4", "int8"), ("mxfp4", "mxfp8"), ("nvfp4", "mxfp8")])
def test_the_eight_bits_are_of_the_same_family(wanted, higher):
    assert kind("lm_head", wanted) == higher
    assert kind("model.layers.0.mlp.down_proj", wanted) == higher


@pytest.mark.parametrize("wanted", ["mxfp4", "nvfp4"])
def test_experts_of_the_floating_kinds_stay_small(wanted):
    assert kind("model.layers.0.mlp.switch_mlp.down_proj", wanted, is_experts=True) == wanted


@pytest.mark.parametrize("wanted", ["int8", "mxfp8"])
def test_with_eight_bits_there_is_nothing_to_add(wanted):
    for path in ("lm_head", "model.layers.0.mlp.down_proj", "model.layers.0.self_attn.q_proj"):
        assert kind(path, wanted) == wanted


def test_rows_that_are_no_whole_groups_take_another_kind_or_none():
    assert kind("lm_head", "mxfp4", width=32) == "mxfp8"
    assert kind("lm_head", "int4", width=32) == SOURCE
    assert kind("lm_head", "nvfp4", width=48) == "nvfp4"
    assert kind("model.layers.0.mlp.up_proj", "int8", width=96) == SOURCE


def test_what_is_too_small_stays_as_it_was():
    assert kind_of(Layer("model.x", 64, 960), "int4", is_tied=False) == SOURCE


def test_the_architecture_may_ask_for_more_or_for_nothing():
    assert kind("model.layers.0.self_attn.o_proj", advice=8) == "int8"
    assert kind("model.layers.0.self_attn.o_proj", advice=4) == "int4"
    assert kind("model.layers.0.self_attn.o_proj", advice=0) == SOURCE


def test_layers_that_are_alike_are_told_in_one_line():
    kinds = {
        f"model.layers.{number}.{name}": kind for number in range(12) for name, kind in (("a", "int8"), ("b", "int4"))
    }
    kinds["model.layers.5.c"], kinds["model.layers.6.c"] = "int8", SOURCE

    assert summarise(kinds, "int4") == {"int8": ("model.layers.*.a", "model.layers.5.c"), SOURCE: ("model.layers.6.c",)}


def test_config_json_lists_what_is_packed_in_another_way():
    kinds = {"a": "int4", "b": "int8", "c": SOURCE}

    assert dict(exceptions(kinds, "int4")) == {"b": {"group_size": 64, "bits": 8, "mode": "affine"}}
    assert {name: settings(name)["bits"] for name in PACKINGS} == {
        "int4": 4,
        "int8": 8,
        "mxfp4": 4,
        "mxfp8": 8,
        "nvfp4": 4,
    }
