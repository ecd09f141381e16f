"""Weight-only quantization: how near what comes back is, what comes back exactly, and what it takes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numpy_llama import LlamaError
from numpy_llama.blocks.quantization import quantize
from numpy_llama.blocks.quantized_weight import BITS, GROUP_SIZES, QuantizedWeight, dequantize
from numpy_llama.precision import DTYPES

settings = st.tuples(st.sampled_from(BITS), st.sampled_from(GROUP_SIZES), st.booleans())
wide = st.sampled_from([np.float32, np.float64])


def matrices(dtype, largest=1e4):
    """(O, I) of any widths, so that a row may end within a group and within a byte."""
    shapes = st.tuples(st.integers(1, 4), st.integers(1, 300))
    width = 8 * np.dtype(dtype).itemsize
    numbers = st.floats(-largest, largest, width=width, allow_subnormal=False)
    return hnp.arrays(dtype, shapes, elements=numbers, fill=st.just(dtype(0.5)))


@st.composite
def drawn(draw, dtype=wide):
    return draw(matrices(draw(dtype)))


def spread(parts, weight):
    """(O, ⌈I / group_size⌉) to (O, I): the number of each weight's group."""
    return np.repeat(parts, weight.group_size, axis=1)[:, : weight.shape[1]]


def codes_of(weight):
    """(O, I), unpacked in the plainest way."""
    bytes_ = weight.codes
    if weight.bits == 4:
        bytes_ = np.stack([bytes_ % 16, bytes_ // 16], axis=-1).reshape(len(bytes_), -1)
    return bytes_[:, : weight.shape[1]]


@given(drawn(), settings)
def test_no_number_moves_by_more_than_half_a_scale(matrix, how):
    weight = quantize(matrix, *how)
    # Beside the half, what a few operations round at the largest number of the group, 2ᵇ scales away at most.
    rounding = (
        8 * np.finfo(matrix.dtype).eps * (np.abs(matrix).max() + 2.0**weight.bits * spread(weight.scales, weight))
    )
    assert (np.abs(dequantize(weight) - matrix) <= spread(weight.scales, weight) / 2 + rounding).all()


@given(drawn(), settings)
def test_what_comes_back_is_the_formula_of_the_codes(matrix, how):
    weight = quantize(matrix, *how)
    middle = 2 ** (weight.bits - 1)
    expected = (codes_of(weight).astype(matrix.dtype) - middle) * spread(weight.scales, weight)
    if weight.zeros is not None:
        expected = expected + spread(weight.zeros, weight)
    np.testing.assert_array_equal(dequantize(weight), expected)
    np.testing.assert_array_equal(np.asarray(weight), expected)
    out = np.full(matrix.shape, np.nan, matrix.dtype)
    dequantize(weight, out)
    np.testing.assert_array_equal(out, expected)


@given(drawn(), settings)
def test_symmetric_keeps_zero_and_asymmetric_the_ends_of_a_group(matrix, how):
    bits, group_size, _ = how
    kept = dequantize(quantize(matrix, bits, group_size, symmetric=True))
    assert (kept[matrix == 0] == 0).all()
    weight = quantize(matrix, bits, group_size)
    groups = [slice(start, start + group_size) for start in range(0, matrix.shape[1], group_size)]
    for group in groups:
        codes = codes_of(weight)[:, group]
        lowest, highest = matrix[:, group].min(1), matrix[:, group].max(1)
        far_apart = highest - lowest > 1e-3 + 1e-3 * np.abs(matrix).max()  # else rounding and the smallest scale speak
        assert (codes.min(1)[far_apart] == 0).all()
        assert (codes.max(1)[far_apart] == 2**bits - 1).all()


@given(matrices(np.float64, largest=100), settings)
def test_quantizing_what_was_quantized_changes_nothing(matrix, how):
    once = quantize(matrix, *how)
    twice = quantize(dequantize(once), *how)
    np.testing.assert_allclose(dequantize(twice), dequantize(once), rtol=0, atol=1e-6)  # the smallest scale


@given(matrices(np.float64, largest=100), st.sampled_from(GROUP_SIZES), st.booleans())
def test_eight_bits_are_at_least_as_near_as_four(matrix, group_size, symmetric):
    errors = [np.abs(dequantize(quantize(matrix, bits, group_size, symmetric)) - matrix).max() for bits in (8, 4)]
    # Any number may happen to lie on a level of the coarse grid; the farthest one of fine levels is half a scale away.
    scales = quantize(matrix, 8, group_size, symmetric).scales
    assert errors[0] <= scales.max() / 2 + 1e-9
    assert scales.max() <= quantize(matrix, 4, group_size, symmetric).scales.max()


@given(drawn(), st.sampled_from(BITS), st.booleans())
def test_larger_groups_take_no_more_memory(matrix, bits, symmetric):
    sizes = [quantize(matrix, bits, group_size, symmetric).nbytes for group_size in sorted(GROUP_SIZES)]
    assert sizes == sorted(sizes, reverse=True)


def test_int4_in_groups_of_128_takes_four_and_a_half_bits():
    weight = quantize(np.ones((64, 1024), np.float32), 4, 128)
    assert 8 * weight.nbytes / weight.size == 4.5
    assert 8 * quantize(np.ones((64, 1024), np.float32), 4, 128, symmetric=True).nbytes / weight.size == 4.25


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_dtype_is_kept(dtype, symmetric):
    matrix = np.random.default_rng(0).standard_normal((5, 71)).astype(DTYPES[dtype])
    weight = quantize(matrix, 4, 32, symmetric)
    assert weight.dtype == weight.scales.dtype == dequantize(weight).dtype == DTYPES[dtype]
    # In two bytes a scale is rounded to 1 part in 256, which moves the farthest of eight levels by a thirtieth of one.
    assert (
        np.abs(dequantize(weight) - matrix).astype(float) <= 0.6 * spread(weight.scales, weight).astype(float)
    ).all()


def test_a_group_knows_nothing_of_its_neighbours():
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((2, 256)).astype(np.float32)
    changed = matrix.copy()
    changed[0, 128:] *= 1000
    before, after = (dequantize(quantize(one, 4, 128)) for one in (matrix, changed))
    np.testing.assert_array_equal(after[0, :128], before[0, :128])
    np.testing.assert_array_equal(after[1], before[1])
    assert np.abs(after[0, 128:] - changed[0, 128:]).max() > 10  # a coarse grid, where there is a large number


@pytest.mark.parametrize(
    ("weight", "how", "complaint"),
    [
        (np.ones((2, 3)), (5, 32), "bits: impossible value; expected one of 4, 8, found 5"),
        (np.ones((2, 3)), (True, 32), "bits: impossible value"),
        (np.ones((2, 3)), (4, 48), "group_size: impossible value; expected one of 32, 64, 128, found 48"),
        (np.ones(3), (4, 32), "weight: can't be quantized; expected a matrix of floats"),
        (np.ones((2, 0)), (4, 32), "weight: can't be quantized"),
        (np.ones((2, 3), int), (4, 32), "weight: can't be quantized"),
        (np.full((2, 3), np.nan), (4, 32), "weight: can't be quantized; expected finite numbers"),
        (np.array([[-3e38, 3e38]], np.float32), (4, 32), "scales, zeros: not finite"),
    ],
)
def test_what_cannot_be_quantized_is_said(weight, how, complaint):
    with pytest.raises(LlamaError, match=complaint):
        quantize(weight, *how)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"codes": np.zeros((2, 35), np.uint8)}, r"codes: wrong shape; expected \(2, 36\), found \(2, 35\)"),
        ({"codes": np.zeros((2, 36), np.int8)}, "codes: wrong dtype"),
        ({"scales": np.ones((2, 2), np.float32)}, r"scales: wrong shape; expected \(2, 3\)"),
        ({"scales": np.ones((2, 3), np.int64)}, "scales: wrong dtype"),
        ({"zeros": np.ones((3, 2), np.float32)}, r"zeros: wrong shape; expected \(2, 3\)"),
        ({"zeros": np.ones((2, 3), np.float64)}, "zeros: wrong dtype; expected float32, found float64"),
        ({"scales": np.full((2, 3), np.nan, np.float32)}, "scales, zeros: not finite"),
        ({"scales": np.full((2, 3), 1e38, np.float32)}, "scales, zeros: not finite"),
        ({"bits": 3}, "bits: impossible value"),
    ],
)
def test_parts_that_do_not_fit_are_named(change, complaint):
    good = quantize(np.random.default_rng(0).standard_normal((2, 71)).astype(np.float32), 4, 32)
    parts = {name: getattr(good, name) for name in ("codes", "scales", "zeros", "bits", "group_size", "shape")}
    with pytest.raises(LlamaError, match=complaint):
        QuantizedWeight(**{**parts, **change})
