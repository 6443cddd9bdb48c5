"""The quick exponential, on the real MLX of this process."""

import platform
import sys

import mlx.core as mx
import numpy as np
import pytest

from paddock.runner import quick_exp

IS_SUPPORTED = sys.platform == "linux" and platform.machine() == "x86_64"
VALUES = np.linspace(-80, 80, 4001, dtype=np.float32)


def test_it_is_the_exponential_to_the_last_bits():
    exponential = quick_exp.install()

    found = np.array(exponential(mx.array(VALUES)))

    assert np.allclose(found, np.exp(VALUES.astype(np.float64)), rtol=1e-6 if IS_SUPPORTED else 1e-5, atol=0)


def test_it_is_had_wherever_mlx_itself_is_slow():
    assert (quick_exp.install() is not mx.exp) is IS_SUPPORTED


def test_the_operation_that_it_takes_goes_on_to_be_right():
    quick_exp.install()

    assert np.allclose(np.array(mx.arcsinh(mx.array(VALUES))), np.arcsinh(VALUES), rtol=2e-6, atol=1e-9)


def test_what_models_compile_computes_the_same():
    exponential = quick_exp.install()

    found = mx.compile(lambda values: 1 + exponential(values))(mx.array(VALUES[:100]))

    assert np.allclose(np.array(found), 1 + np.exp(VALUES[:100]), rtol=1e-6, atol=0)


def test_installing_twice_changes_nothing():
    first = quick_exp.install()

    assert quick_exp.install() is first


@pytest.mark.skipif(not IS_SUPPORTED, reason="nothing is replaced on this system")
def test_a_library_that_computes_something_else_is_taken_out_again(monkeypatch):
    exponential = quick_exp.install()
    [slot] = quick_exp.got.find_slots(quick_exp.ctypes.CDLL(str(quick_exp._mlx_library())), "asinhf")
    before = quick_exp.got.read_slot(slot)
    wrong = quick_exp.ctypes.cast(quick_exp.ctypes.CDLL("libm.so.6").sinf, quick_exp.ctypes.c_void_p).value
    monkeypatch.setattr(mx, "arcsinh", exponential)

    assert quick_exp._replaced(slot, wrong) is mx.exp
    assert quick_exp.got.read_slot(slot) == before
