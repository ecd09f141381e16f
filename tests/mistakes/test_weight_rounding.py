"""Weights that lost bits lose those that other people's code loses."""

import numpy as np
import pytest

from numpy_llama.mistakes.weight_rounding import cut_to_bfloat16, q4_0, q4_1, q8_0, quantized
from numpy_llama.precision import DTYPES

RNG = np.random.default_rng(5)
WEIGHT = (RNG.normal(size=(40, 96)) * np.exp(RNG.normal(size=(40, 1)))).astype(np.float32)
WEIGHT[3] = 0  # a group of zeros has no scale


@pytest.mark.parametrize(("name", "to_format"), [("Q8_0", q8_0), ("Q4_0", q4_0), ("Q4_1", q4_1)])
def test_quantized_weights_are_those_of_ggml(name, to_format):
    gguf = pytest.importorskip("gguf")
    kind = gguf.GGMLQuantizationType[name]
    expected = gguf.dequantize(gguf.quantize(WEIGHT, kind), kind)
    np.testing.assert_array_equal(quantized(to_format)(WEIGHT), expected)


@pytest.mark.parametrize(("to_format", "steps"), [(q8_0, 254), (q4_0, 14), (q4_1, 14)])
def test_no_weight_is_off_by_more_than_a_step(to_format, steps):
    """Half a step by rounding; a whole one at the end that Q4_0 has no number for."""
    groups = WEIGHT.reshape(-1, 32)
    reach = np.ptp(np.c_[groups, -groups if to_format is not q4_1 else groups], axis=1)
    assert (np.abs(to_format(groups) - groups).max(axis=1) <= 1.01 * reach / steps).all()  # the scale is rounded, too


def test_a_cut_weight_is_the_next_bfloat16_toward_zero():
    cut = cut_to_bfloat16(WEIGHT)
    assert (cut == cut.astype(DTYPES["bfloat16"])).all()
    assert (np.abs(cut) <= np.abs(WEIGHT)).all()
    assert (np.abs(WEIGHT - cut) <= np.abs(WEIGHT) * 2**-7).all()
    assert (cut != WEIGHT.astype(DTYPES["bfloat16"]).astype(np.float32)).any()
