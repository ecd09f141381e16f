"""What SiLU, the activation of Llama's MLP, must do."""

import numpy as np

from numpy_llama.conformance.draws import Draw, double, dtypes, numbers, sizes
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import close, equal, holds, is_array, tolerance


def truth(x: np.ndarray) -> np.ndarray:
    """The formula in float64."""
    return double(x) / (1 + np.exp(-double(x)))


def allowed(x: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """One rounding to the dtype at the end; before it exp (good to 2 units), the sum and the quotient: 4."""
    return tolerance(x.dtype, expected, narrow=1, wide=4)


def values_worked_out_by_hand(port: Port, draw: Draw) -> None:
    """silu(0) = 0; sigmoid(ln 3) = 3/4, so silu(ln 3) = ¾ ln 3 and silu(−ln 3) = −¼ ln 3."""
    log3 = np.log(3.0)
    # 1e-15: some five roundings of a number below 1.
    close(
        port.activation(np.array([0.0, log3, -log3])), [0.0, 0.75 * log3, -0.25 * log3], 1e-15, "silu(0, ln 3, −ln 3)"
    )


def keeps_shape_and_dtype(port: Port, draw: Draw) -> None:
    """y has the shape and the dtype of x."""
    dtype, rows, channels = draw("dtype", dtypes), draw("rows", sizes), draw("F", sizes)
    x = draw("x", numbers((1, rows, channels), dtype))
    is_array(port.activation(x), x.shape, "shape and dtype", dtype)


def both_sides_differ_by_x(port: Port, draw: Draw) -> None:
    """silu(x) − silu(−x) = x."""
    dtype, channels = draw("dtype", dtypes), draw("F", sizes)
    x = draw("x", numbers((channels,), dtype))
    right, left = port.activation(x), port.activation(-x)
    is_array(right, x.shape, "silu(x)")
    is_array(left, x.shape, "silu(−x)")
    bound = allowed(x, truth(x)) + allowed(x, truth(-x))
    close(double(right) - double(left), double(x), bound, "silu(x) − silu(−x) = x")


def lies_between_its_floor_and_x(port: Port, draw: Draw) -> None:
    """−0.2785 ≤ silu(x) ≤ max(x, 0): the least value is at x = −1.278."""
    dtype, channels = draw("dtype", dtypes), draw("F", sizes)
    x = draw("x", numbers((channels,), dtype))
    y = port.activation(x)
    is_array(y, x.shape, "silu(x)")
    floor = np.full(channels, -0.278465)  # W(1/e) = 0.278464…, Lambert's function
    bound = allowed(x, floor)
    holds(double(y) >= floor - bound, "silu(x) ≥ −0.2785", floor, y)
    ceiling = np.maximum(double(x), 0)
    holds(double(y) <= ceiling + allowed(x, ceiling), "silu(x) ≤ max(x, 0)", ceiling, y)


def far_out_it_is_zero_or_x(port: Port, draw: Draw) -> None:
    """silu(1000) = 1000 and silu(−1000) = 0, with no NaN from an overflowing exp."""
    dtype = draw("dtype", dtypes)
    equal(port.activation(np.array([1000, -1000], dtype)), np.array([1000.0, 0.0]), "silu(±1000)")


def is_the_formula(port: Port, draw: Draw) -> None:
    """silu(x) = x / (1 + exp(−x)), within the roundings of the dtype."""
    dtype, channels = draw("dtype", dtypes), draw("F", sizes)
    x = draw("x", numbers((channels,), dtype, powers=(0, -7)))
    expected = truth(x)
    close(port.activation(x), expected, allowed(x, expected), "x / (1 + exp(−x))")


PROPERTIES = (
    values_worked_out_by_hand,
    keeps_shape_and_dtype,
    both_sides_differ_by_x,
    lies_between_its_floor_and_x,
    far_out_it_is_zero_or_x,
    is_the_formula,
)
