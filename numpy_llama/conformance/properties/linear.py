"""What a linear layer must do."""

import numpy as np
from hypothesis import strategies as st

from numpy_llama.conformance.draws import Draw, double, dtypes, numbers, sizes, weights
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import close, equal, is_array, tolerance


def allowed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """I products, I sums and the bias in the wide dtype, then one rounding to x's; relative to the absolute terms."""
    truth, terms = double(x) @ double(weight).T, np.abs(double(x)) @ np.abs(double(weight)).T
    if bias is not None:
        truth, terms = truth + double(bias), terms + np.abs(double(bias))
    return tolerance(x.dtype, truth, narrow=1, wide=2 * x.shape[-1] + 1, terms=terms)


def values_worked_out_by_hand(port: Port, draw: Draw) -> None:
    """x = (1, 2), W = ((1, 10), (3, 30), (5, 50)): x Wᵀ = (21, 63, 105); weights are stored output first."""
    x, weight = np.array([[1.0, 2.0]]), np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 50.0]])
    equal(port.linear(x, weight), np.array([[21.0, 63.0, 105.0]]), "(1, 2) · Wᵀ")
    bias = np.array([0.5, -0.5, 1.0])
    equal(port.linear(x, weight, bias), np.array([[21.5, 62.5, 106.0]]), "(1, 2) · Wᵀ + b")


def keeps_shape_and_dtype(port: Port, draw: Draw) -> None:
    """(…, I) becomes (…, O) of x's dtype, with a bias and without."""
    dtype, tokens, inputs, outputs = draw("dtype", dtypes), draw("T", sizes), draw("I", sizes), draw("O", sizes)
    x, weight = draw("x", numbers((2, tokens, inputs), dtype)), draw("weight", weights((outputs, inputs), dtype))
    is_array(port.linear(x, weight), (2, tokens, outputs), "shape and dtype", dtype)
    is_array(port.linear(x, weight, weight[:, 0]), (2, tokens, outputs), "shape and dtype with a bias", dtype)


def is_the_matrix_product(port: Port, draw: Draw) -> None:
    """y[o] = Σ_i x[i] W[o, i] + b[o], within the roundings of a sum of I products."""
    dtype, tokens, inputs, outputs = draw("dtype", dtypes), draw("T", sizes), draw("I", sizes), draw("O", sizes)
    x, weight = draw("x", numbers((1, tokens, inputs), dtype)), draw("weight", weights((outputs, inputs), dtype))
    close(port.linear(x, weight), double(x) @ double(weight).T, allowed(x, weight), "x Wᵀ")
    bias = draw("bias", weights((outputs,), dtype))
    close(
        port.linear(x, weight, bias),
        double(x) @ double(weight).T + double(bias),
        allowed(x, weight, bias),
        "x Wᵀ + b",
    )


def unit_vectors_pick_columns(port: Port, draw: Draw) -> None:
    """linear(e_i) is column i of W, exactly: nothing is rounded in a product with 1."""
    dtype, inputs, outputs = draw("dtype", dtypes), draw("I", sizes), draw("O", sizes)
    weight = draw("weight", weights((outputs, inputs), dtype))
    equal(port.linear(np.eye(inputs, dtype=dtype), weight), double(weight).T, "linear(e_i) = W[:, i]")


def is_additive_and_homogeneous(port: Port, draw: Draw) -> None:
    """linear(a x + y) = a linear(x) + linear(y)."""
    dtype = np.dtype(np.float64)
    inputs, outputs, a = draw("I", sizes), draw("O", sizes), draw("a", st.integers(-4, 4))
    x, y = draw("x", numbers((1, inputs), dtype)), draw("y", numbers((1, inputs), dtype))
    weight = draw("weight", weights((outputs, inputs), dtype))
    together = port.linear(a * x + y, weight)
    bound = abs(a) * allowed(x, weight) + allowed(y, weight) + allowed(a * x + y, weight)
    close(together, a * port.linear(x, weight) + port.linear(y, weight), bound, "linear(a x + y)")


def sums_are_not_taken_in_two_bytes(port: Port, draw: Draw) -> None:
    """A sum of 600 ones is 600: a bfloat16 counter would stop at 256, where 256 + 1 rounds back to 256."""
    dtype = draw("dtype", dtypes)
    ones = np.ones((1, 600), dtype)
    # 600 has at most 7 significant bits (600 = 75 · 8), so every dtype holds it, and float32 every sum on the way.
    equal(port.linear(ones, ones), np.array([[600.0]]), "1 + 1 + … + 1, 600 times")


def rows_do_not_know_each_other(port: Port, draw: Draw) -> None:
    """linear of several rows is linear of each, but for the order in which a product is added up."""
    dtype, rows, inputs, outputs = draw("dtype", dtypes), draw("rows", sizes), draw("I", sizes), draw("O", sizes)
    x, weight = draw("x", numbers((rows, inputs), dtype)), draw("weight", weights((outputs, inputs), dtype))
    apart = np.concatenate([port.linear(x[i : i + 1], weight) for i in range(rows)])
    close(port.linear(x, weight), double(apart), 2 * allowed(x, weight), "several rows are each row alone")


PROPERTIES = (
    values_worked_out_by_hand,
    keeps_shape_and_dtype,
    unit_vectors_pick_columns,
    is_additive_and_homogeneous,
    rows_do_not_know_each_other,
    sums_are_not_taken_in_two_bytes,
    is_the_matrix_product,
)
