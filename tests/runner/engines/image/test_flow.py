import numpy as np
import pytest

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.runner.engines.image.flow import Flow, empirical_mu, first_step, linear_mu, make_sigmas, read_flow


def test_the_turbo_model_s_shift_bends_the_noise_levels():
    sigmas = make_sigmas(Flow(shift=3.0), 4, mu=99.0)

    assert sigmas.tolist() == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0])
    assert sigmas.dtype == np.float32


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_noise_levels_fall_from_all_to_none(steps):
    sigmas = make_sigmas(Flow(use_dynamic_shifting=True), steps, mu=1.15)

    assert (sigmas[0], sigmas[-1], len(sigmas)) == (1.0, 0.0, steps + 1)
    assert (np.diff(sigmas) < 0).all()


def test_a_terminal_shift_ends_there_and_does_not_disturb_a_single_step():
    assert make_sigmas(Flow(shift_terminal=0.1), 5, 0.0)[-2] == pytest.approx(0.1)
    assert make_sigmas(Flow(shift_terminal=0.1), 1, 0.0).tolist() == [1.0, 0.0]


def test_the_shift_by_size_goes_through_the_configured_points():
    flow = Flow(base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096)

    assert linear_mu(flow, 256) == pytest.approx(0.5)
    assert linear_mu(flow, 4096) == pytest.approx(1.15)


def test_the_empirical_shift_is_between_its_two_lines():
    tokens = 1024

    assert empirical_mu(tokens, 10) == pytest.approx(8.73809524e-05 * tokens + 1.89833333)
    assert empirical_mu(tokens, 200) == pytest.approx(0.00016927 * tokens + 0.45666666)
    assert empirical_mu(5000, 4) == empirical_mu(5000, 200)


def test_strength_says_how_many_steps_are_made():
    assert [first_step(10, strength) for strength in (1.0, 0.6, 0.05)] == [0, 4, 9]


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"_class_name": "EulerDiscreteScheduler"}, UnsupportedModel),
        ({"use_karras_sigmas": True}, UnsupportedModel),
        ({"use_exponential_sigmas": True}, UnsupportedModel),
        ({"use_beta_sigmas": True}, UnsupportedModel),
        ({"stochastic_sampling": True}, UnsupportedModel),
        ({"time_shift_type": "cubic"}, UnsupportedModel),
        ({"shift": "3"}, DamagedModel),
        ({"max_image_seq_len": 256}, DamagedModel),
    ],
)
def test_schedules_that_are_not_done_are_refused(config, error):
    with pytest.raises(error):
        read_flow(config)
