"""Honest runs agree, whatever they round to and in whichever order they add up; error bars say how far they may be."""

import numpy as np
import pytest

from numpy_llama import Blocks, LlamaForCausalLM
from numpy_llama.precision import float_dtype
from numpy_llama.study.compare import compare_traces, error_bars
from numpy_llama.study.compare.error_bars import half_last_bit
from numpy_llama.study.subject import Asked, Subject
from tests.study.compare.conftest import padded_calls


def plain_loop(x, weight, bias=None):
    """y = x Wᵀ + b, products added up one after the other from the last to the first, each sum rounded."""
    y = (
        np.zeros((*x.shape[:-1], len(weight)), x.dtype)
        if bias is None
        else np.broadcast_to(bias, (*x.shape[:-1], len(weight)))
    )
    for i in reversed(range(x.shape[-1])):
        y = y + x[..., i, None] * weight[:, i]
    return y


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_our_own_run_agrees_in_every_dtype(small, dtype):
    tensors = {name: array.astype(float_dtype(dtype)) for name, array in small.tensors.items()}
    theirs = padded_calls(small, LlamaForCausalLM(small.config, tensors))
    found = compare_traces(theirs, small)
    assert found.status == 0, found.first
    assert found.dtype == dtype
    assert len(found.findings) == len(theirs)


def test_sums_in_a_plain_loop_the_other_way_round_agree(small):
    theirs = padded_calls(small, LlamaForCausalLM(small.config, small.tensors, blocks=Blocks().swap(linear=plain_loop)))
    ours = padded_calls(small)
    assert any((theirs[name] != ours[name]).any() for name in ours), "the order makes no difference: nothing is tested"
    assert compare_traces(theirs, small).status == 0
    assert compare_traces(theirs, small, ours).status == 0
    assert compare_traces(theirs, None, ours).status == 0  # bars by rule of thumb


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_bars_predict_the_error_of_the_logits(storyteller, dtype):
    """Within 1.6 in both directions: eight runs tell a spread to a quarter, and an error is one draw from it. In
    float32 the bars allow for sums in a plain loop, and BLAS adds up in blocks, which errs less: down to 0.5.
    """
    ids = np.random.default_rng(0).integers(3, 1500, (2, 12))
    subject = Subject(storyteller.config, storyteller.tensors, (Asked(ids),)).in_dtype(dtype)
    bar = error_bars(subject.in_dtype("float64"), dtype, lambda call, name: name == "lm_head")[0]["lm_head"]
    error = subject.run()[0].astype(np.float64) - bar.truth
    ratio = np.sqrt(np.mean(error**2) / np.mean(bar.bar**2))
    assert (0.5 if dtype == "float32" else 1 / 1.6) < ratio < 1.6


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_half_a_last_bit_is_what_rounding_changes_at_most(dtype):
    values = np.random.default_rng(0).standard_normal(2000) * 10.0 ** np.random.default_rng(1).integers(-9, 4, 2000)
    error = np.abs(values.astype(float_dtype(dtype)).astype(np.float64) - values)
    assert (error <= half_last_bit(values, dtype)).all()
    assert error.max() > 0 and (error > 0.9 * half_last_bit(values, dtype)).any()
