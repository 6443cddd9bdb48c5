import pytest

from paddock.runner.engines.text.model.normalise import misread, overrides


def test_a_config_of_the_older_form_needs_nothing():
    config = {"model_type": "llama", "hidden_size": 64, "rope_theta": 1e4, "rope_scaling": {"rope_type": "llama3"}}

    assert overrides(config) == {}


def test_rope_parameters_become_theta_and_scaling():
    parameters = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0}

    found = overrides({"model_type": "llama", "rope_parameters": parameters})

    assert found["rope_theta"] == 5e5
    assert found["rope_scaling"] == {"type": "llama3", "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}


def test_plain_rope_parameters_have_no_scaling():
    found = overrides({"rope_parameters": {"rope_type": "default", "rope_theta": 7e4, "partial_rotary_factor": 0.5}})

    assert found["rope_scaling"] is None
    assert found["partial_rotary_factor"] == 0.5


def test_what_the_config_says_itself_is_kept():
    config = {"rope_theta": 1.0, "rope_parameters": {"rope_theta": 2.0}, "num_experts": 8, "num_local_experts": 8}

    assert "rope_theta" not in overrides(config)
    assert "num_experts" not in overrides(config)


def test_rope_per_kind_of_layer_becomes_a_global_and_a_local_frequency():
    parameters = {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }

    found = overrides({"model_type": "gemma3_text", "rope_parameters": parameters})

    assert (found["rope_theta"], found["rope_local_base_freq"]) == (1e6, 1e4)
    assert found["rope_scaling"] == {"type": "linear", "rope_type": "linear", "factor": 8.0}


def test_a_list_of_layer_types_gives_the_period_of_full_attention():
    found = overrides({"layer_types": ["sliding_attention"] * 5 + ["full_attention"] + ["sliding_attention"] * 5})

    assert found["sliding_window_pattern"] == found["full_attention_interval"] == 6


@pytest.mark.parametrize(
    ("known", "missing"), [("num_experts", "num_local_experts"), ("num_local_experts", "num_experts")]
)
def test_experts_are_counted_under_both_names(known, missing):
    assert overrides({known: 8})[missing] == 8


def test_sizes_that_follow_from_others_are_filled_in_only_where_they_are_demanded():
    config = {"hidden_size": 64, "num_attention_heads": 4, "expand": 2}

    assert overrides(config) == {}
    found = overrides(config, {"head_dim", "intermediate_size", "block_dim"})
    assert found == {"head_dim": 16, "intermediate_size": 128, "block_dim": 64}


def test_architectures_that_know_only_old_names_of_layers_get_them():
    config = {"model_type": "granitemoehybrid", "layer_types": ["linear_attention", "full_attention"]}

    assert overrides(config)["layer_types"] == ["mamba", "attention"]


def test_exaone_gets_its_kinds_of_layers_as_letters():
    config = {"model_type": "exaone4", "sliding_window_pattern": 3}
    sliding, full = "sliding_attention", "full_attention"

    some = overrides({**config, "layer_types": [sliding, sliding, full]})
    none = overrides({**config, "layer_types": [full, full]})

    assert some["sliding_window_pattern"] == "LLG"
    assert none["sliding_window_pattern"] is None


def test_a_nested_text_config_is_put_right_and_keeps_the_rest():
    text = {"hidden_size": 64, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}

    found = overrides({"model_type": "mistral3", "text_config": text})

    assert found["text_config"] == {**text, "rope_theta": 7.0, "rotary_emb_base": 7.0, "rope_scaling": None}


def test_a_model_that_would_be_computed_wrongly_is_known():
    assert misread({"model_type": "mamba2", "n_groups": 8})
    assert not misread({"model_type": "mamba2", "n_groups": 1})
    assert misread({"model_type": "granitemoehybrid", "mamba_n_groups": 2})
    assert not misread({"model_type": "granitemoehybrid", "mamba_n_groups": 1})
    assert misread({"model_type": "falcon_h1", "mamba_n_groups": 2, "mamba_rms_norm": True})
    assert not misread({"model_type": "falcon_h1", "mamba_n_groups": 2, "mamba_rms_norm": False})
    assert misread({"model_type": "jamba", "num_experts": 16})
    assert not misread({"model_type": "jamba", "num_experts": 1})
    assert misread({"model_type": "glm", "rope_parameters": {"partial_rotary_factor": 0.5}})
    assert misread({"model_type": "glm"})
    assert misread({"model_type": "ernie4_5_moe"})
    assert misread({"model_type": "recurrent_gemma", "rope_parameters": {"rope_theta": 7e4}})
    assert not misread({"model_type": "recurrent_gemma", "rope_parameters": {"rope_theta": 1e4}})
    assert not misread({"model_type": "recurrent_gemma"})
    assert not misread({"model_type": "llama"})
