"""What examples are made of: small arrays whose numbers a person can read, and every dtype can hold.

A number is an eighth of a small integer, times a power of two: at most seven significant bits, so it is the same
number in float64, float32, float16 and bfloat16, and an input never brings a rounding error of its own. Hypothesis
shrinks it towards zero, the power towards 2⁰, and a shape towards one row of one channel.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import ArrayLike

from numpy_llama.precision import DTYPES

# draw("x", numbers((2, 3))) takes one example and remembers it under its name, for the report.
Draw = Callable[[str, st.SearchStrategy[Any]], Any]

dtypes = st.sampled_from(list(DTYPES.values()))
wide_dtypes = st.sampled_from([DTYPES["float64"], DTYPES["float32"]])
two_byte_dtypes = st.sampled_from([DTYPES["bfloat16"], DTYPES["float16"]])
sizes = st.integers(1, 4)
SMALL_AND_LARGE = (0, -7, 7)  # eighths of up to 64, times 1, 1/128 or 128: the squares of the last overflow float16


def numbers(
    shape: tuple[int, ...],
    dtype: np.dtype,
    *,
    powers: tuple[int, ...] = (0,),
    largest: int = 64,
    smallest: int | None = None,
) -> st.SearchStrategy[np.ndarray]:
    """Arrays of n/8 · 2^power with |n| ≤ largest; read-only, since no block may change what it is given.

    powers    the first is what examples shrink to
    smallest  least n; −largest unless given
    """
    low = -largest if smallest is None else smallest
    integers = hnp.arrays(np.int64, shape, elements=st.integers(low, largest), fill=st.nothing())
    return st.builds(
        lambda n, power: _frozen((n * 2.0 ** (power - 3)).astype(dtype)), integers, st.sampled_from(powers)
    )


def weights(shape: tuple[int, ...], dtype: np.dtype) -> st.SearchStrategy[np.ndarray]:
    """Arrays for weights: eighths between −2 and 2."""
    return numbers(shape, dtype, largest=16)


def ids(shape: tuple[int, ...], below: int) -> st.SearchStrategy[np.ndarray]:
    """Token ids in 0 … below − 1."""
    return hnp.arrays(np.int64, shape, elements=st.integers(0, below - 1), fill=st.nothing()).map(_frozen)


def fixed(values: ArrayLike) -> np.ndarray:
    """A float64 array that no block may change, for values worked out by hand."""
    return _frozen(np.array(values, np.float64))


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def double(array: np.ndarray) -> np.ndarray:
    """The same numbers in float64, for the truth."""
    return array.astype(np.float64)
