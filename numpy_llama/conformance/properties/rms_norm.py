"""What RMSNorm must do."""

import numpy as np
from hypothesis import strategies as st

from numpy_llama.conformance.draws import (
    SMALL_AND_LARGE,
    Draw,
    double,
    dtypes,
    fixed,
    numbers,
    sizes,
    two_byte_dtypes,
    weights,
)
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import close, equal, is_array, tolerance

EPS = st.sampled_from((1e-5, 1e-6, 0.0625))


def truth(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """The formula in float64."""
    x = double(x)
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps) * double(weight)


def allowed(x: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """In the block's dtype the normed vector is rounded, then its product with the weight: 2. On the way the square,
    E terms of the mean, its division, eps itself and its sum, root, reciprocal and product: E + 7."""
    return tolerance(x.dtype, expected, narrow=2, wide=x.shape[-1] + 7)


def values_worked_out_by_hand(port: Port, draw: Draw) -> None:
    """(1, 7) has mean square 25, so rms 5; with eps = 11 the root is 6; weights multiply at the end."""
    x, ones, weight = fixed([[1, 7]]), fixed([1, 1]), fixed([10, -5])
    # 1e-15 and 1e-14: some four roundings of a number below 2, and below 8.
    close(port.rms_norm(x, ones, 0.0), [[0.2, 1.4]], 1e-15, "x = [[1, 7]], weight = [1, 1], eps = 0")
    close(port.rms_norm(x, ones, 11.0), [[1 / 6, 7 / 6]], 1e-15, "x = [[1, 7]], weight = [1, 1], eps = 11")
    close(port.rms_norm(x, weight, 0.0), [[2, -7]], 1e-14, "x = [[1, 7]], weight = [10, -5], eps = 0")


def keeps_shape_and_dtype(port: Port, draw: Draw) -> None:
    """y has the shape and the dtype of x."""
    dtype, rows, channels = draw("dtype", dtypes), draw("rows", sizes), draw("channels", sizes)
    x, weight = draw("x", numbers((rows, channels), dtype)), draw("weight", weights((channels,), dtype))
    is_array(port.rms_norm(x, weight, 1e-5), x.shape, "shape and dtype", dtype)
    is_array(port.rms_norm(x[None], weight, 1e-5), (1, *x.shape), "shape and dtype of a batch", dtype)
    is_array(port.rms_norm(x[0], weight, 1e-5), x.shape[1:], "shape and dtype of one vector", dtype)


def is_the_formula(port: Port, draw: Draw) -> None:
    """y = x / √(mean(x²) + eps) · weight, within the roundings of the dtype."""
    dtype, rows, channels = draw("dtype", dtypes), draw("rows", sizes), draw("channels", sizes)
    x = draw("x", numbers((rows, channels), dtype, powers=SMALL_AND_LARGE))
    weight, eps = draw("weight", weights((channels,), dtype)), draw("eps", EPS)
    expected = truth(x, weight, eps)
    close(port.rms_norm(x, weight, eps), expected, allowed(x, expected), "x / √(mean(x²) + eps) · weight")


def output_has_rms_one(port: Port, draw: Draw) -> None:
    """rms(y) = 1 for weight 1 and an eps that is nothing beside mean(x²)."""
    dtype, channels = draw("dtype", dtypes), draw("channels", sizes)
    x = draw("x", numbers((1, channels), dtype, smallest=8))  # at least 1, so that eps is 1e-12 of the mean square
    y = port.rms_norm(x, np.ones(channels, dtype), 1e-12)
    is_array(y, x.shape, "y")
    rms = np.sqrt(np.mean(double(y) ** 2, axis=-1))
    one = np.ones(1)
    close(rms, one, allowed(x, one) + 1e-12, "rms(y) = 1")


def constant_vector_becomes_the_weight(port: Port, draw: Draw) -> None:
    """(c, c, …) → weight for c > 0: nothing is subtracted from x, unlike in LayerNorm."""
    channels, c = draw("channels", sizes), draw("c", st.integers(1, 8))
    weight = draw("weight", weights((channels,), np.dtype(np.float64)))
    y = port.rms_norm(np.full((1, channels), float(c)), weight, 1e-12)
    expected = weight[None]
    close(y, expected, allowed(expected, expected) + 1e-12 * np.abs(expected), "a constant vector becomes the weight")


def length_of_x_does_not_matter(port: Port, draw: Draw) -> None:
    """rms_norm(c x, weight, c² eps) = rms_norm(x, weight, eps): but for eps, the length of x is forgotten."""
    dtype, channels = draw("dtype", dtypes), draw("channels", sizes)
    x, weight = draw("x", numbers((1, channels), dtype)), draw("weight", weights((channels,), dtype))
    c = draw("c", st.sampled_from((2.0, 0.5, 8.0, 0.125)))  # powers of two: c x rounds nothing
    longer = (double(x) * c).astype(dtype)
    eps = 0.0625
    expected = truth(x, weight, eps)
    got = port.rms_norm(longer, weight, c * c * eps)
    close(got, double(port.rms_norm(x, weight, eps)), 2 * allowed(x, expected), f"the same for x and {c:g} x")


def is_linear_in_the_weight(port: Port, draw: Draw) -> None:
    """rms_norm(x, a v + w, eps) = a rms_norm(x, v, eps) + rms_norm(x, w, eps)."""
    channels = draw("channels", sizes)
    double_precision = np.dtype(np.float64)
    x = draw("x", numbers((1, channels), double_precision))
    v, w = draw("v", weights((channels,), double_precision)), draw("w", weights((channels,), double_precision))
    a = draw("a", st.integers(-3, 3))
    parts = a * port.rms_norm(x, v, 1e-5), port.rms_norm(x, w, 1e-5)
    terms = np.abs(parts[0]) + np.abs(parts[1])
    got = port.rms_norm(x, a * v + w, 1e-5)
    # Three results with their roundings, and one product and one sum here: 3 (E + 9) + 2.
    bound = tolerance(double_precision, parts[0] + parts[1], narrow=0, wide=3 * (channels + 9) + 2, terms=terms)
    close(got, parts[0] + parts[1], bound, "linear in the weight")


def eps_stands_under_the_root(port: Port, draw: Draw) -> None:
    """Where mean(x²) is below eps, y is near x / √eps · weight, and a zero vector stays zero."""
    dtype, channels = draw("dtype", dtypes), draw("channels", sizes)
    x = draw("x", numbers((1, channels), dtype, powers=(-7, -9)))
    weight, eps = draw("weight", weights((channels,), dtype)), draw("eps", EPS)
    expected = truth(x, weight, eps)
    close(port.rms_norm(x, weight, eps), expected, allowed(x, expected), "x / √(mean(x²) + eps) · weight for a small x")
    zero = np.zeros((1, channels), dtype)
    equal(port.rms_norm(zero, weight, eps), zero, "a zero vector stays zero")


def rows_do_not_know_each_other(port: Port, draw: Draw) -> None:
    """Every vector is normed by its own rms: rms_norm of several rows is rms_norm of each."""
    dtype, rows, channels = draw("dtype", dtypes), draw("rows", st.integers(1, 3)), draw("channels", sizes)
    x, weight = draw("x", numbers((rows, channels), dtype)), draw("weight", weights((channels,), dtype))
    together = port.rms_norm(x, weight, 1e-5)
    apart = np.concatenate([port.rms_norm(x[i : i + 1], weight, 1e-5) for i in range(rows)])
    # A sum may be added up in another order for several rows, so two roundings of each, not equality.
    close(together, double(apart), 2 * allowed(x, double(apart)), "several rows are each row alone")


def repeated_vector_is_normed_alike(port: Port, draw: Draw) -> None:
    """(x, x, …, x) has the rms of x: rms_norm repeats, too. A mean is no sum, and is not added up in two bytes."""
    dtype, channels = draw("dtype", dtypes), draw("channels", sizes)
    x, weight = draw("x", numbers((1, channels), dtype)), draw("weight", weights((channels,), dtype))
    times = draw("times", st.sampled_from((1, 2, 300)))
    long = np.tile(x, times)
    expected = truth(long, np.tile(weight, times), 1e-5)
    got = port.rms_norm(long, np.tile(weight, times), 1e-5)
    close(got, expected, allowed(long, expected), f"the vector {times} times over is normed as the vector")


def channels_are_alike(port: Port, draw: Draw) -> None:
    """Channels in another order give the same results in that order, and −x gives −y."""
    dtype, channels = draw("dtype", dtypes), draw("channels", sizes)
    x, weight = draw("x", numbers((1, channels), dtype)), draw("weight", weights((channels,), dtype))
    order = draw("order", st.permutations(range(channels)))
    y = double(port.rms_norm(x, weight, 1e-5))
    bound = 2 * allowed(x, y)  # the sum of squares may be added up in another order
    close(port.rms_norm(x[:, order], weight[order], 1e-5), y[:, order], bound[:, order], "channels in another order")
    close(port.rms_norm(-x, weight, 1e-5), -y, bound, "−x gives −y")


def rounds_before_the_weight(port: Port, draw: Draw) -> None:
    """In two bytes y = round(weight · round(x / √(mean(x²) + eps))): the normed vector is rounded before it meets the
    weight, and the product once more."""
    dtype, channels = draw("dtype", two_byte_dtypes), draw("channels", sizes)
    x = draw("x", numbers((1, channels), dtype, smallest=1))
    weight = draw("weight", weights((channels,), dtype))
    normed = truth(x, np.ones(channels), 1e-5)
    expected = (double(normed.astype(dtype)) * double(weight)).astype(dtype)
    # Where the normed number lies between two of the dtype's, nearly, float32's own error decides which it becomes.
    near = normed * 2.0**-18
    certain = (normed - near).astype(dtype) == (normed + near).astype(dtype)
    got = port.rms_norm(x, weight, 1e-5)
    is_array(got, x.shape, "y", dtype)
    equal(np.where(certain, got, expected), double(expected), "rounded, multiplied by the weight, rounded")


PROPERTIES = (
    values_worked_out_by_hand,
    keeps_shape_and_dtype,
    output_has_rms_one,
    eps_stands_under_the_root,
    length_of_x_does_not_matter,
    constant_vector_becomes_the_weight,
    is_linear_in_the_weight,
    channels_are_alike,
    rows_do_not_know_each_other,
    repeated_vector_is_normed_alike,
    rounds_before_the_weight,
    is_the_formula,
)
