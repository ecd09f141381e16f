"""What each of the 22 activations must do. (SiLU, the one of every Llama, has its own properties in conformance.)"""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from numpy_llama import Blocks, LlamaError
from numpy_llama.blocks import other_activations
from numpy_llama.blocks.activation_table import ACTIVATIONS, activation_named, with_activation
from numpy_llama.blocks.activations import silu
from numpy_llama.blocks.erf import erf, erf_by_hastings
from numpy_llama.blocks.linear import linear
from numpy_llama.blocks.mlp import mlp
from numpy_llama.precision import DTYPES, lowest

GELUS = [name for name in ACTIVATIONS if name.startswith("gelu")]
BY_TANH = ["gelu_accurate", "gelu_fast", "gelu_new", "gelu_python_tanh", "gelu_pytorch_tanh"]

# A handful of float64 roundings of numbers up to the largest of the array.
ROUNDINGS = 8 * 2.0**-53

numbers = arrays(np.float64, st.integers(1, 40), elements=st.floats(-30, 30))
every_name = pytest.mark.parametrize("name", ACTIVATIONS)


def assert_close(result, expected, error=ROUNDINGS):
    """error  of the largest number, or of 1"""
    np.testing.assert_allclose(result, expected, rtol=0, atol=error * max(1.0, np.abs(expected).max()))


# -- the error function ------------------------------------------------------------------------------------------------


@given(arrays(np.float64, 200, elements=st.floats(-8, 8)))
def test_erf_is_the_standard_library_s(x):
    expected = np.array([math.erf(value) for value in x])
    # Each is good to about a unit in the last place. Below 1e-300 that unit is no longer 2^-52 of the number.
    np.testing.assert_allclose(erf(x), expected, rtol=3 * 2.0**-52, atol=1e-300)


def test_erf_is_good_to_the_last_unit_wherever_it_bends():
    x = np.linspace(-6.5, 6.5, 100_001)
    expected = np.array([math.erf(value) for value in x])
    assert (np.abs(erf(x) - expected) <= 2 * np.spacing(np.abs(expected))).all()
    narrow = x.astype(np.float32)
    expected = np.array([math.erf(value) for value in narrow.astype(float)])
    np.testing.assert_array_equal(erf(narrow), expected.astype(np.float32))


def test_erf_at_its_ends():
    x = np.array([0.0, -0.0, 1e-320, 6.1, 1e300, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(erf(x), [0.0, -0.0, math.erf(1e-320), 1, 1, 1, -1, np.nan])
    assert np.signbit(erf(x))[1]
    np.testing.assert_array_equal(erf(-x), -erf(x))


def test_hastings_erf_is_as_good_as_published():
    x = np.linspace(-6, 6, 20_001)
    assert 1e-7 < np.abs(erf_by_hastings(x) - erf(x)).max() < 1.5e-7
    x = x.astype(np.float32)
    assert np.abs(erf_by_hastings(x) - erf(x)).max() < 1.5e-7 + 6 * 2**-24  # six roundings of numbers up to 2


# -- mathematics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*GELUS, "silu", "swish", "quick_gelu", "hardswish", "relu"])
@given(x=numbers)
def test_both_sides_differ_by_x(name, x):
    """f(x) − f(−x) = x for whatever is x times a share that both sides divide between them."""
    x = np.clip(x, -10, 10)  # gelu_10 stops there
    f = ACTIVATIONS[name]
    assert_close(f(x) - f(-x), x)


@pytest.mark.parametrize("name", ["gelu", "gelu_python"])
@given(x=numbers)
def test_gelu_of_both_sides_adds_up_to_x_erf(name, x):
    """gelu(x) + gelu(−x) = x erf(x / √2), with the standard library's erf."""
    f = ACTIVATIONS[name]
    assert_close(f(x) + f(-x), [value * math.erf(value / math.sqrt(2)) for value in x])


@pytest.mark.parametrize("name", BY_TANH)
def test_tanh_comes_within_5e4_of_gelu(name):
    """And not closer than 4e-4 everywhere: it is the approximation, not the function."""
    x = np.linspace(-8, 8, 100_001)
    assert 4e-4 < np.abs(ACTIVATIONS[name](x) - ACTIVATIONS["gelu"](x)).max() < 5e-4


@pytest.mark.parametrize("name", BY_TANH)
@given(x=numbers)
def test_the_formulas_by_tanh_are_one(name, x):
    """But for gelu_fast, whose √(2/π) has ten digits."""
    expected = ACTIVATIONS["gelu_pytorch_tanh"](x)
    assert_close(ACTIVATIONS[name](x), expected, 1e-10 if name == "gelu_fast" else ROUNDINGS)


def test_quick_gelu_comes_within_0021_of_gelu():
    x = np.linspace(-8, 8, 100_001)
    assert 0.02 < np.abs(ACTIVATIONS["quick_gelu"](x) - ACTIVATIONS["gelu"](x)).max() < 0.021


@given(x=numbers)
def test_gelu_10_is_gelu_up_to_10(x):
    np.testing.assert_array_equal(ACTIVATIONS["gelu_10"](x), np.minimum(ACTIVATIONS["gelu"](x), 10))


@given(x=numbers)
def test_sigmoid_and_tanh(x):
    """σ(x) + σ(−x) = 1, tanh(−x) = −tanh(x), tanh(x) = 2 σ(2x) − 1, silu(x) = x σ(x)."""
    sigmoid, tanh = ACTIVATIONS["sigmoid"], ACTIVATIONS["tanh"]
    assert_close(sigmoid(x) + sigmoid(-x), np.ones_like(x))
    np.testing.assert_array_equal(tanh(-x), -tanh(x))
    assert_close(tanh(x), 2 * sigmoid(2 * x) - 1)
    assert_close(ACTIVATIONS["silu"](x), x * sigmoid(x))


@given(x=numbers)
def test_softplus_and_what_is_made_of_it(x):
    """softplus(x) − softplus(−x) = x, sqrtsoftplus² = softplus, mish(x) = x tanh(softplus(x))."""
    softplus = other_activations.softplus(x)
    assert_close(softplus - other_activations.softplus(-x), x, 2.1e-9)  # e^-20, where torch cuts it off
    assert_close(ACTIVATIONS["sqrtsoftplus"](x) ** 2, softplus)
    assert_close(ACTIVATIONS["mish"](x), x * np.tanh(softplus))


@given(x=numbers)
def test_pieces_of_straight_lines(x):
    positive, negative = np.maximum(x, 0), np.minimum(x, 0)
    np.testing.assert_array_equal(ACTIVATIONS["relu"](x), positive)
    np.testing.assert_array_equal(ACTIVATIONS["relu2"](x), positive * positive)
    np.testing.assert_array_equal(ACTIVATIONS["relu6"](x), np.clip(x, 0, 6))
    np.testing.assert_array_equal(ACTIVATIONS["linear"](x), x)
    assert_close(ACTIVATIONS["leaky_relu"](x), positive + negative / 100)
    outside = np.abs(x) >= 3
    assert_close(ACTIVATIONS["hardswish"](x)[outside], positive[outside]) if outside.any() else None
    assert_close(ACTIVATIONS["hardswish"](x)[~outside], (x * (x + 3) / 6)[~outside]) if not outside.all() else None


@given(x=numbers)
def test_laplace_is_symmetric_about_its_bend(x):
    """laplace(µ + d) + laplace(µ − d) = 1."""
    laplace = ACTIVATIONS["laplace"]
    # erf is at most 2/√π steep, its argument 2.5 d: a rounding of d is tripled.
    assert_close(laplace(0.707107 + x) + laplace(0.707107 - x), np.ones_like(x), 30 * 3 * ROUNDINGS)


def test_values_from_tables():
    """Φ(1) = 0.84134…, tanh(1) = 0.76159…, ln 2: tables of the normal distribution and of logarithms."""
    one, zero = np.array([1.0, -1.0]), np.zeros(1)
    assert_close(ACTIVATIONS["gelu"](one), [0.841344746068543, -0.158655253931457], 1e-15)
    assert_close(ACTIVATIONS["gelu_new"](one), [0.841191990608277, -0.158808009391723], 1e-15)
    assert_close(ACTIVATIONS["tanh"](one), [0.761594155955765, -0.761594155955765], 1e-15)
    assert_close(ACTIVATIONS["sqrtsoftplus"](zero), [math.sqrt(0.693147180559945)], 1e-15)
    assert_close(ACTIVATIONS["mish"](one), [0.865098388267310, -0.303401461374109], 1e-15)
    assert_close(ACTIVATIONS["laplace"](np.array([0.707107])), [0.5], 1e-15)


# -- dtypes and ends ---------------------------------------------------------------------------------------------------

# What each tends to: far to the left, far to the right (x: the number itself).
ENDS = {
    **dict.fromkeys([*GELUS, "hardswish", "mish", "quick_gelu", "relu", "silu", "swish"], (0, "x")),
    "gelu_10": (0, 10),
    "laplace": (0, 1),
    "leaky_relu": ("x/100", "x"),
    "linear": ("x", "x"),
    "relu2": (0, "x²"),
    "relu6": (0, 6),
    "sigmoid": (0, 1),
    "sqrtsoftplus": (0, "√x"),
    "tanh": (-1, 1),
}


@every_name
@pytest.mark.parametrize("dtype", DTYPES)
def test_far_out(name, dtype):
    """±128: an exponential overflows float32, a square and a cube float16, and the limits are reached all the same."""
    x = np.array([-128, 128], DTYPES[dtype])
    y = ACTIVATIONS[name](x)
    limits = {
        "x": x,
        "x²": x.astype(float) ** 2,
        "x/100": x.astype(float) / 100,
        "√x": np.sqrt(np.abs(x.astype(float))),
    }
    expected = [limits[end][side] if isinstance(end, str) else end for side, end in enumerate(ENDS[name])]
    # 2^-8 is a rounding of bfloat16; e^-64 is what sqrtsoftplus has left at −128.
    np.testing.assert_allclose(y.astype(float), np.array(expected, float), rtol=2.0**-8, atol=2e-28)


@every_name
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_numbers_make_no_nan_and_no_warning(name, dtype):
    """Warnings are errors in this suite."""
    largest = -lowest(DTYPES[dtype])
    x = np.array([-largest, largest, 0], DTYPES[dtype])
    assert not np.isnan(ACTIVATIONS[name](x)).any()


@every_name
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 5)])
def test_shape_and_dtype_stay(name, dtype, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(DTYPES[dtype])
    before = np.array(x)
    y = ACTIVATIONS[name](np.asarray(x))
    assert y.shape == shape
    assert y.dtype == DTYPES[dtype]
    np.testing.assert_array_equal(x, before)


@every_name
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_narrow_dtypes_stay_near_float64(name, dtype):
    """Up to six operations, each of which rounds numbers no larger than 8 or than the result."""
    x = np.linspace(-8, 8, 4001).astype(DTYPES[dtype])
    expected = ACTIVATIONS[name](x.astype(np.float64))
    unit = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    error = np.abs(ACTIVATIONS[name](x).astype(float) - expected)
    assert error.max() <= 6 * 8 * unit
    assert (error > 0).any() or name in ("linear", "relu", "relu6")


# -- names -------------------------------------------------------------------------------------------------------------


def test_names():
    assert len(ACTIVATIONS) == 22
    assert activation_named("silu") is activation_named("swish") is silu
    assert activation_named(np.cos) is np.cos


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("sliu", "unknown activation"),
        ("", "unknown activation"),
        (None, "unknown activation"),
        (["silu"], "unknown activation"),
        ("prelu", "trained parameters"),
        ("xielu", "trained parameters"),
    ],
)
def test_unknown_names(name, what):
    with pytest.raises(LlamaError, match=f"hidden_act: .*{what}.*silu") as error:
        activation_named(name)
    assert error.value.found == repr(name)


# -- into the record of blocks -----------------------------------------------------------------------------------------


def run(blocks, seed=0):
    x, gate, up, down = np.random.default_rng(seed).standard_normal((4, 5, 5))
    return blocks.mlp(x, gate, up, down)


def test_silu_leaves_the_record_as_it_is():
    blocks = Blocks()
    assert with_activation(blocks, "silu") is blocks
    assert with_activation(blocks, "swish") is blocks


@pytest.mark.parametrize("act", ["relu", "gelu", np.cos])
def test_another_activation_reaches_the_mlp(act):
    blocks = with_activation(Blocks(), act)
    x, gate, up, down = np.random.default_rng(0).standard_normal((4, 5, 5))
    np.testing.assert_array_equal(run(blocks), linear(activation_named(act)(linear(x, gate)) * linear(x, up), down))
    assert blocks.activation is activation_named(act)


def test_what_somebody_put_into_the_record_stays():
    def other_mlp(x, *weights):
        return x

    def double(x, weight, bias=None):
        return 2 * linear(x, weight, bias)

    own = Blocks().swap(activation=np.sin)
    assert with_activation(own, "relu") is own
    own = Blocks().swap(mlp=other_mlp)
    assert with_activation(own, "relu") is own
    own = Blocks().swap(mlp=partial(other_mlp))
    assert with_activation(own, "relu") is own
    blocks = with_activation(Blocks().swap(linear=double), "relu")
    x, gate, up, down = np.random.default_rng(0).standard_normal((4, 5, 5))
    expected = mlp(x, gate, up, down, activation=ACTIVATIONS["relu"], linear=double)
    np.testing.assert_array_equal(run(blocks), expected)


def test_an_unknown_name_is_an_error_even_where_it_would_not_be_used():
    with pytest.raises(LlamaError, match="hidden_act"):
        with_activation(Blocks().swap(activation=np.sin), "sliu")
