from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.errors import InvalidOption
from paddock.options import merge, parse_options
from paddock.protocol import Sampling


def refusal(options, **source) -> str:
    with pytest.raises(InvalidOption) as error:
        parse_options(options, **source)
    return error.value.message


def test_nothing_given_is_nothing_changed():
    assert merge({}, {}) == (Sampling(), {})


def test_a_request_goes_over_the_model_and_the_model_over_the_defaults():
    sampling, runner = merge(
        {"temperature": 0.1, "top_k": 5, "num_ctx": 2048, "stop": ["a", "b"]},
        {"temperature": 0.9, "num_gpu": 0, "stop": "c"},
    )
    assert sampling == Sampling(temperature=0.9, top_k=5, stop=("c",))
    assert runner == {"num_ctx": 2048, "num_gpu": 0}


def test_options_are_split_by_whom_they_concern():
    parsed = parse_options({"seed": 7, "num_ctx": 4096, "num_thread": 2, "num_batch": 64})
    assert parsed.sampling_overrides == {"seed": 7}
    assert parsed.runner_overrides == {"num_ctx": 4096, "num_thread": 2, "num_batch": 64}


def test_null_leaves_an_option_out():
    assert merge({"temperature": 0.1}, {"temperature": None, "num_ctx": None, "stop": None})[0].temperature == 0.1


OPTIONS = tuple(name for name in Sampling.__struct_fields__ if name not in ("logit_bias", "logprobs", "top_logprobs"))
"""The rest are fields of their own in a body, not options."""


def test_every_option_of_sampling_can_be_set():
    given_options = {name: 1 for name in OPTIONS if name != "stop"} | {"stop": ["x"]}
    assert parse_options(given_options).sampling_overrides.keys() == set(OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"temperature": True}, 'option "temperature" must be of type float32'),
        ({"temperature": [1]}, 'option "temperature" must be of type float32'),
        ({"top_k": "40"}, 'option "top_k" must be of type integer'),
        ({"num_ctx": False}, 'option "num_ctx" must be of type integer'),
        ({"num_ctx": {}}, 'option "num_ctx" must be of type integer'),
        ({"stop": 7}, 'option "stop" must be of type array'),
        ({"stop": ["a", 7]}, 'option "stop" must be of type array'),
        ({"stop": {"a": 1}}, 'option "stop" must be of type array'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
        ({"main_gpu": False}, 'option "main_gpu" must be of type integer'),
        ({"mirostat_tau": "x"}, 'option "mirostat_tau" must be of type float32'),
    ],
)
def test_a_wrong_type_is_told_in_ollamas_words(options, message):
    assert refusal(options) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, 'option "temperature" must be between 0 and 100.'),
        ({"top_p": 1.5}, 'option "top_p" must be between 0 and 1.'),
        ({"num_ctx": 0}, 'option "num_ctx" must be between 1 and 16777216.'),
        ({"num_ctx": -1}, 'option "num_ctx" must be between 1 and 16777216.'),
        ({"num_predict": -3}, 'option "num_predict" must be between -2 and 2147483647.'),
        ({"repeat_penalty": 0}, 'option "repeat_penalty" must be between 0.01 and 100.'),
        ({"seed": 2**63}, f'option "seed" must be between {-(2**63)} and {2**63 - 1}.'),
        ({"temperature": math.nan}, 'option "temperature" must be a finite number.'),
        ({"num_ctx": math.inf}, 'option "num_ctx" must be a finite number.'),
        ({"num_ctx": 1e300}, 'option "num_ctx" must be between 1 and 16777216.'),
        ({"stop": ["x"] * 17}, 'option "stop" must hold at most 16 strings.'),
        ({"stop": "é" * 129}, 'Each string of option "stop" must be valid text of 1 to 256 bytes.'),
        ({"stop": [""]}, 'Each string of option "stop" must be valid text of 1 to 256 bytes.'),
        ({"stop": "\ud800"}, 'Each string of option "stop" must be valid text of 1 to 256 bytes.'),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(options, message):
    assert refusal(options) == message


@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 2**63 - 1])
def test_a_seed_is_any_64_bit_number(seed):
    assert merge({}, {"seed": seed})[0].seed == seed


def test_floats_are_cut_to_integers_and_integers_become_floats():
    sampling, runner = merge({}, {"top_k": 40.9, "num_ctx": 2048.0, "temperature": 1})
    assert (sampling.top_k, runner["num_ctx"]) == (40, 2048)
    assert isinstance(sampling.top_k, int)
    assert isinstance(sampling.temperature, float)


def test_a_tiny_context_is_raised_to_four():
    assert merge({}, {"num_ctx": 1})[1] == {"num_ctx": 4}


@pytest.mark.parametrize("value", [1, None, "x"])
def test_an_unknown_option_is_refused_whatever_its_value(value):
    assert refusal({"num_ctxx": value}) == 'unknown option "num_ctxx"'


def test_a_parameter_is_called_one():
    assert refusal({"x": 1}, source="parameter") == 'unknown parameter "x"'
    assert refusal({"top_k": "x"}, source="parameter") == 'parameter "top_k" must be of type integer'


def test_a_strange_name_is_made_printable():
    assert refusal({"a\n\ud800": 1}) == 'unknown option "a��"'
    assert len(refusal({"x" * 100_000: 1})) < 120


NEUTRAL = {
    "main_gpu": 0, "use_mmap": True, "numa": False, "low_vram": False, "f16_kv": True, "logits_all": False,
    "vocab_only": False, "use_mlock": False, "embedding_only": False,
    "tfs_z": 1.0, "mirostat": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1,
    "penalize_newline": True, "draft_num_predict": 4,
}  # fmt: skip


def test_options_of_other_engines_are_accepted_where_they_ask_for_nothing():
    assert merge({}, NEUTRAL) == (Sampling(), {})
    assert merge({}, dict.fromkeys(NEUTRAL)) == (Sampling(), {})
    assert merge({}, {"tfs_z": 1, "mirostat_tau": 5}) == (Sampling(), {})


@pytest.mark.parametrize("name", NEUTRAL)
def test_options_of_other_engines_are_refused_where_they_ask_for_something(name):
    value = not NEUTRAL[name] if isinstance(NEUTRAL[name], bool) else NEUTRAL[name] + 1
    assert refusal({name: value}) == f'option "{name}" is not supported here: remove it.'


names = st.sampled_from([*Sampling.__struct_fields__, "num_ctx", "num_gpu", *NEUTRAL]) | st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
)


@given(st.dictionaries(names, values, max_size=4))
def test_any_options_either_become_sampling_or_one_sentence(options):
    try:
        sampling, runner = merge({}, options)
    except InvalidOption as error:
        error.message.encode()
        return
    assert all(isinstance(value, int) for value in runner.values())
    assert all(math.isfinite(getattr(sampling, name)) for name in OPTIONS if name != "stop")
    json.dumps(runner)
