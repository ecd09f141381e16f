"""What the causal mask must do."""

import numpy as np
from hypothesis import strategies as st

from numpy_llama.conformance.draws import Draw, double, dtypes, ids, sizes
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import equal, holds, is_array
from numpy_llama.precision import lowest

pasts = st.integers(0, 4)


def values_worked_out_by_hand(port: Port, draw: Draw) -> None:
    """Two new tokens after one cached: the first sees 0 and 1, the second 0, 1 and 2. ✓✓✗ over ✓✓✓."""
    dtype = np.dtype(np.float32)
    no = float(lowest(dtype))
    equal(port.causal_mask(2, 3, dtype), np.array([[[[0, 0, no], [0, 0, 0]]]]), "T = 2 after a past of 1")


def keeps_shape_and_dtype(port: Port, draw: Draw) -> None:
    """(1, 1, T, S), or (B, 1, T, S) with padding, of the dtype asked for."""
    dtype, new, past = draw("dtype", dtypes), draw("T", sizes), draw("past", pasts)
    total = new + past
    is_array(port.causal_mask(new, total, dtype), (1, 1, new, total), "shape and dtype", dtype)
    padding = np.ones((2, total), np.int64)
    is_array(port.causal_mask(new, total, dtype, padding), (2, 1, new, total), "shape and dtype with padding", dtype)


def is_lower_triangular(port: Port, draw: Draw) -> None:
    """mask[t, s] = 0 where s ≤ (S − T) + t, else the dtype's lowest number: itself and the past, nothing to come."""
    dtype, new, past = draw("dtype", dtypes), draw("T", sizes), draw("past", pasts)
    expected = [[0.0 if s <= past + t else float(lowest(dtype)) for s in range(past + new)] for t in range(new)]
    equal(port.causal_mask(new, past + new, dtype), np.array([[expected]]), "mask[t, s] = 0 where s ≤ past + t")


def padding_is_hidden_from_everyone(port: Port, draw: Draw) -> None:
    """Where attention_mask[b, s] is 0, column s of row b is closed; every other column is as without padding."""
    dtype, new, past = draw("dtype", dtypes), draw("T", sizes), draw("past", pasts)
    total = new + past
    real = draw("attention_mask", ids((2, total), 2))
    plain = double(port.causal_mask(new, total, dtype))
    expected = np.where(real[:, None, None, :] == 1, plain, float(lowest(dtype)))
    equal(port.causal_mask(new, total, dtype, real), expected, "padding is closed, the rest unchanged")


def a_chunk_is_the_end_of_the_whole(port: Port, draw: Draw) -> None:
    """The mask of the last T of S tokens is the last T rows of the mask of all S."""
    dtype, new, past = draw("dtype", dtypes), draw("T", sizes), draw("past", pasts)
    whole = double(port.causal_mask(past + new, past + new, dtype))
    equal(port.causal_mask(new, past + new, dtype), whole[:, :, past:], "T rows of the S × S mask")


def one_token_sees_everything(port: Port, draw: Draw) -> None:
    """A single new token closes nothing: all zeros."""
    dtype, past = draw("dtype", dtypes), draw("past", pasts)
    equal(port.causal_mask(1, past + 1, dtype), np.zeros((1, 1, 1, past + 1)), "T = 1 sees all S tokens")


def every_number_is_finite(port: Port, draw: Draw) -> None:
    """No infinity, so that a row that sees nothing but padding is no NaN after softmax."""
    dtype, new = draw("dtype", dtypes), draw("T", sizes)
    mask = port.causal_mask(new, new, dtype, np.zeros((1, new), np.int64))
    is_array(mask, (1, 1, new, new), "mask")
    holds(np.isfinite(double(mask)), "every number of the mask is finite", got=mask)


PROPERTIES = (
    values_worked_out_by_hand,
    keeps_shape_and_dtype,
    is_lower_triangular,
    one_token_sees_everything,
    a_chunk_is_the_end_of_the_whole,
    padding_is_hidden_from_everyone,
    every_number_is_finite,
)
