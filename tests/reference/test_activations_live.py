"""All 22 activations beside Transformers' own, given the same numbers."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers.activations import ACT2CLS, ACT2FN

from numpy_llama import LlamaConfig
from numpy_llama.blocks.activation_table import ACTIVATIONS, TRAINED
from numpy_llama.precision import DTYPES
from numpy_llama.reference.record import to_numpy, true_to_dtype

SAME_BITS = 0.99  # a rounding too many or too few changes a tenth to a half
# Some ten roundings of float32 or float64, of numbers up to the largest.
RELATIVE = {"float32": 1e-6, "float64": 3e-15}

every_name = pytest.mark.parametrize("name", ACTIVATIONS)


def torch_s(name: str, x: np.ndarray) -> np.ndarray:
    tensor = torch.from_numpy(x.astype(np.float64)).to(getattr(torch, x.dtype.name))  # a float64 holds any of the four
    return to_numpy(ACT2FN[name](tensor))


def test_the_table_is_transformers_but_for_what_is_trained():
    assert set(ACTIVATIONS) | set(TRAINED) == set(ACT2CLS)
    for name in TRAINED:
        assert list(ACT2FN[name].parameters())
    for name in ACTIVATIONS:
        assert not list(ACT2FN[name].parameters())


@every_name
@pytest.mark.parametrize("spread", [0.3, 1, 3])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_same_bits(name, dtype, spread):
    """10^5 numbers of a normal distribution: those around 0, and those out in the tails."""
    if name in ("gelu", "gelu_10") and spread == 3 and torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("without AVX2 torch's gelu has another erf, and other bits in the left tail")
    x = (np.random.default_rng(1).standard_normal(100_000) * spread).astype(DTYPES[dtype])
    ours, theirs = ACTIVATIONS[name](x), torch_s(name, x)
    assert ours.dtype == theirs.dtype
    assert np.mean(ours == theirs) >= SAME_BITS


@every_name
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_number_there_is(name, dtype):
    """All finite numbers of a two-byte dtype: infinities where torch has them, and no NaN, as in torch."""
    x = np.arange(2**16, dtype=np.uint16).view(DTYPES[dtype])
    with np.errstate(invalid="ignore"):  # some of the NaNs signal
        x = x[np.isfinite(x)]
    ours, theirs = (y.astype(np.float64) for y in (ACTIVATIONS[name](x), torch_s(name, x)))
    assert not (np.isnan(ours) | np.isnan(theirs)).any()
    np.testing.assert_array_equal(np.isinf(ours), np.isinf(theirs))
    assert np.mean(ours == theirs) >= SAME_BITS
    # Where bits differ, by a rounding of the result, or of 1 + erf or 1 + tanh, of which there is at most 8 times one.
    apart = ours != theirs
    unit = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    assert (np.abs(ours[apart] - theirs[apart]) <= unit * np.maximum(8, np.abs(theirs[apart]))).all()


@every_name
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_numbers(name, dtype):
    x = (np.random.default_rng(2).standard_normal(20_000) * 4).astype(dtype)
    ours, theirs = ACTIVATIONS[name](x), torch_s(name, x)
    assert ours.dtype == theirs.dtype
    assert np.abs(ours - theirs).max() <= RELATIVE[dtype] * max(1, np.abs(theirs).max())


@every_name
def test_a_model_with_it(make_pair, name):
    """From config.json to logits, in float64: the error of sums of some tens of terms, see test_live.py."""
    sizes = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=4, hidden_act=name, mlp_bias=True)
    ours, theirs = make_pair(config, "float64")
    ids = np.array([[3, 1, 4, 1, 5, 9, 2, 6]])
    with torch.no_grad(), true_to_dtype(theirs):
        expected = to_numpy(theirs(torch.from_numpy(ids)).logits)
    assert np.abs(ours(ids).logits - expected).max() <= 1e-11 * np.abs(expected).max()
