"""What softmax must do."""

import numpy as np
from hypothesis import strategies as st

from numpy_llama.conformance.draws import Draw, double, dtypes, numbers, sizes
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import close, equal, holds, is_array, tolerance
from numpy_llama.precision import lowest


def truth(scores: np.ndarray) -> np.ndarray:
    """The formula in float64."""
    scores = double(scores)
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def allowed(scores: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """One rounding to the dtype at the end. Before it: x − max is rounded once, and an error d in an exponent is an
    error d in its exponential, so that this one counts |x − max| times; exp itself is good to 2 units; S terms of the
    sum, where the same holds of each; the quotient: 2 · (spread + 2) + S + 1."""
    spread = float(np.ptp(double(scores)))
    return tolerance(scores.dtype, expected, narrow=1, wide=int(2 * (spread + 2)) + scores.shape[-1] + 1)


def values_worked_out_by_hand(port: Port, draw: Draw) -> None:
    """exp turns (0, ln 3) into (1, 3): weights 1/4 and 3/4; equal scores share equally."""
    # 1e-15: some ten roundings of a number below 1.
    close(port.softmax(np.array([[0.0, np.log(3.0)]])), [[0.25, 0.75]], 1e-15, "softmax(0, ln 3)")
    close(port.softmax(np.full((1, 4), 7.0)), np.full((1, 4), 0.25), 1e-15, "softmax(7, 7, 7, 7)")


def keeps_shape_and_dtype(port: Port, draw: Draw) -> None:
    """Weights have the shape and the dtype of the scores."""
    dtype, rows, columns = draw("dtype", dtypes), draw("T", sizes), draw("S", sizes)
    scores = draw("scores", numbers((1, 2, rows, columns), dtype))
    is_array(port.softmax(scores), scores.shape, "shape and dtype", dtype)


def sums_to_one(port: Port, draw: Draw) -> None:
    """Σ p = 1 along the last axis, and no weight is negative."""
    dtype, rows, columns = draw("dtype", dtypes), draw("T", sizes), draw("S", sizes)
    scores = draw("scores", numbers((1, 2, rows, columns), dtype))
    weights = port.softmax(scores)
    is_array(weights, scores.shape, "weights")
    holds(weights >= 0, "no weight is negative", got=weights)
    # Each weight is off by at most its tolerance, so their sum by at most the sum of these.
    bound = allowed(scores, truth(scores)).sum(axis=-1)
    close(double(weights).sum(axis=-1), np.ones(scores.shape[:-1]), bound, "Σ p = 1")


def a_shift_changes_nothing(port: Port, draw: Draw) -> None:
    """softmax(x + c) = softmax(x)."""
    dtype, columns, c = draw("dtype", dtypes), draw("S", sizes), draw("c", st.integers(-8, 8))
    scores = draw("scores", numbers((1, columns), dtype))
    shifted = (double(scores) + c).astype(dtype)  # eighths below 16: exact in every dtype
    expected = truth(scores)
    close(port.softmax(shifted), expected, allowed(scores, expected), f"softmax(x + {c}) = softmax(x)")


def keeps_order(port: Port, draw: Draw) -> None:
    """x_i ≥ x_j gives p_i ≥ p_j."""
    dtype, columns = draw("dtype", dtypes), draw("S", sizes)
    scores = draw("scores", numbers((1, columns), dtype))
    weights = port.softmax(scores)
    is_array(weights, scores.shape, "weights")
    order = np.argsort(double(scores)[0])
    holds(np.diff(double(weights)[0, order]) >= 0, "the higher score has the higher weight", got=weights)


def large_scores_do_not_overflow(port: Port, draw: Draw) -> None:
    """exp(1000) is infinite in every dtype, softmax(1000, 1000) is (½, ½) all the same."""
    dtype, sign = draw("dtype", dtypes), draw("sign", st.sampled_from((1, -1)))
    equal(
        port.softmax(np.full((1, 2), sign * 1000, dtype)),
        np.full((1, 2), 0.5),
        f"softmax({sign * 1000}, {sign * 1000})",
    )


def a_row_far_below_another_is_that_row_alone(port: Port, draw: Draw) -> None:
    """Each row is divided by a sum of its own, however far below another row, head or text of the batch it is."""
    # exp(−200) is 0 in float32, exp(−1000) in float64: with one maximum for all rows the lower one is 0/0.
    dtype, columns, axis = (
        draw("dtype", dtypes),
        draw("S", sizes),
        draw("axis of the two rows", st.sampled_from((2, 1, 0))),
    )
    rows = draw("scores", numbers((2, columns), dtype))
    for depth in (200, 1000):
        lower = (double(rows[0]) - depth).astype(dtype)
        both = np.stack((lower, rows[1]))
        expected = np.stack([truth(row) for row in both])
        bound = np.stack([allowed(row, wanted) for row, wanted in zip(both, expected, strict=True)])
        shape = tuple(2 if i == axis else 1 for i in range(3))
        got = port.softmax(both.reshape(*shape, columns))
        is_array(got, (*shape, columns), "weights")
        close(got.reshape(2, columns), expected, bound, f"a row {depth} below another")


def what_is_masked_has_weight_zero(port: Port, draw: Draw) -> None:
    """A score of −∞, or the dtype's lowest, gives weight 0; a row with nothing else shares equally and is no NaN."""
    dtype, columns = draw("dtype", dtypes), draw("S", st.integers(2, 4))
    out = draw("masked as", st.sampled_from(("lowest", "−∞")))
    scores = np.array(draw("scores", numbers((1, columns), dtype)))
    hidden = draw("hidden", st.integers(0, columns - 1))
    scores[0, hidden] = lowest(dtype) if out == "lowest" else -np.inf
    visible = np.delete(scores, hidden, axis=-1)
    expected = np.insert(truth(visible), hidden, 0.0, axis=-1)
    bound = np.insert(allowed(visible, truth(visible)), hidden, 0.0, axis=-1)
    close(port.softmax(scores), expected, bound, "weight 0 where the score is masked")
    nothing = np.full((1, 2), lowest(dtype))
    equal(port.softmax(nothing), np.full((1, 2), 0.5), "a row that is masked throughout")


def is_the_formula_along_the_last_axis(port: Port, draw: Draw) -> None:
    """p[i] = exp(x[i]) / Σ_j exp(x[j]) along the last axis, every other index by itself."""
    dtype, rows, columns = draw("dtype", dtypes), draw("T", sizes), draw("S", sizes)
    scores = draw("scores", numbers((1, 2, rows, columns), dtype))
    expected = truth(scores)
    close(port.softmax(scores), expected, allowed(scores, expected), "exp(x) / Σ exp(x)")


def many_small_weights(port: Port, draw: Draw) -> None:
    """400 equal scores weigh 1/400 each: a sum of exponentials in bfloat16 would stop at 256."""
    dtype = draw("dtype", dtypes)
    scores = np.zeros((1, 400), dtype)
    expected = truth(scores)
    close(port.softmax(scores), expected, allowed(scores, expected), "400 equal scores")


PROPERTIES = (
    values_worked_out_by_hand,
    keeps_shape_and_dtype,
    sums_to_one,
    a_shift_changes_nothing,
    keeps_order,
    large_scores_do_not_overflow,
    a_row_far_below_another_is_that_row_alone,
    what_is_masked_has_weight_zero,
    many_small_weights,
    is_the_formula_along_the_last_axis,
)
