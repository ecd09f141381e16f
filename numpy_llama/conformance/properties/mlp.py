"""What the SwiGLU MLP must do."""

import numpy as np
from hypothesis import strategies as st

from numpy_llama.conformance.draws import Draw, double, dtypes, numbers, sizes, weights
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties import activations, linear
from numpy_llama.conformance.rounding import close, equal, is_array, tolerance

Weights = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_weights(draw: Draw, dtype: np.dtype, channels: int, width: int) -> Weights:
    """gate_proj and up_proj (F, E), down_proj (E, F)."""
    return (
        draw("gate_proj", weights((width, channels), dtype)),
        draw("up_proj", weights((width, channels), dtype)),
        draw("down_proj", weights((channels, width), dtype)),
    )


def truth_and_bound(x: np.ndarray, w: Weights, biases: tuple = (None, None, None)) -> tuple[np.ndarray, np.ndarray]:
    """The formula in float64, and how far a correct result may be from it, one step after the other."""
    gate_proj, up_proj, down_proj = w
    gate, up = (linear_truth(x, m, b) for m, b in zip((gate_proj, up_proj), biases[:2], strict=True))
    gate_error, up_error = (linear.allowed(x, m, b) for m, b in zip((gate_proj, up_proj), biases[:2], strict=True))
    active = activations.truth(gate)
    # The slope of silu is nowhere above 1.1, so an error before it is at most 1.1 times as large after it.
    active_error = 1.1 * gate_error + tolerance(x.dtype, active, narrow=1, wide=4)
    hidden = active * up
    hidden_error = active_error * np.abs(up) + np.abs(active) * up_error + active_error * up_error
    hidden_error = hidden_error + tolerance(x.dtype, hidden, narrow=1)
    y, terms = linear_truth(hidden, down_proj, biases[2]), np.abs(hidden) @ np.abs(double(down_proj)).T
    if biases[2] is not None:
        terms = terms + np.abs(double(biases[2]))
    through = hidden_error @ np.abs(double(down_proj)).T
    return y, through + tolerance(x.dtype, y, narrow=1, wide=2 * hidden.shape[-1] + 1, terms=terms + through)


def linear_truth(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """x Wᵀ + b in float64."""
    return double(x) @ double(weight).T + (0 if bias is None else double(bias))


def values_worked_out_by_hand(port: Port, draw: Draw) -> None:
    """E = F = 1, x = 1: gate ln 3, up 4, down 2 gives silu(ln 3) · 4 · 2 = ¾ ln 3 · 8 = 6 ln 3."""
    log3 = np.log(3.0)
    one = np.ones((1, 1, 1))
    y = port.mlp(one, np.array([[log3]]), np.array([[4.0]]), np.array([[2.0]]))
    close(y, [[[6 * log3]]], 1e-14, "silu(ln 3) · 4 · 2")  # 1e-14: some eight roundings of a number below 8


def keeps_shape_and_dtype(port: Port, draw: Draw) -> None:
    """y has the shape and the dtype of x."""
    dtype, T, E, F = draw("dtype", dtypes), draw("T", sizes), draw("E", sizes), draw("F", sizes)
    x, w = draw("x", numbers((1, T, E), dtype)), draw_weights(draw, dtype, E, F)
    is_array(port.mlp(x, *w), x.shape, "shape and dtype", dtype)


def a_closed_gate_lets_nothing_through(port: Port, draw: Draw) -> None:
    """silu(0) = 0: with gate_proj = 0 the output is 0, whatever the rest; with up_proj = 0 too."""
    dtype, E, F = draw("dtype", dtypes), draw("E", sizes), draw("F", sizes)
    x, (gate, up, down) = draw("x", numbers((1, 1, E), dtype)), draw_weights(draw, dtype, E, F)
    zero = np.zeros((F, E), dtype)
    equal(port.mlp(x, zero, up, down), np.zeros(x.shape), "gate_proj = 0")
    equal(port.mlp(x, gate, zero, down), np.zeros(x.shape), "up_proj = 0")


def is_linear_in_up_and_not_in_gate(port: Port, draw: Draw) -> None:
    """Twice up_proj is twice the output; twice gate_proj isn't: the two are not to be swapped."""
    dtype, E, F = draw("dtype", dtypes), draw("E", sizes), draw("F", sizes)
    x, (gate, up, down) = draw("x", numbers((1, 1, E), dtype, largest=16)), draw_weights(draw, dtype, E, F)
    y = port.mlp(x, gate, up, down)
    is_array(y, x.shape, "y")
    twice = (double(up) * 2).astype(dtype)
    bound = 2 * truth_and_bound(x, (gate, up, down))[1] + truth_and_bound(x, (gate, twice, down))[1]
    close(port.mlp(x, gate, twice, down), 2 * double(y), bound, "2 · up_proj gives 2 · y")
    expected, bound = truth_and_bound(x, ((double(gate) * 2).astype(dtype), up, down))
    close(port.mlp(x, (double(gate) * 2).astype(dtype), up, down), expected, bound, "2 · gate_proj")


def order_of_hidden_channels_does_not_matter(port: Port, draw: Draw) -> None:
    """The F channels inside have no order: rows of gate and up and columns of down may change places together."""
    dtype, E, F = draw("dtype", dtypes), draw("E", sizes), draw("F", st.integers(3, 4))
    x, (gate, up, down) = draw("x", numbers((1, 1, E), dtype, largest=16)), draw_weights(draw, dtype, E, F)
    order = draw("order", st.permutations(range(F)))
    y = port.mlp(x, gate, up, down)
    is_array(y, x.shape, "y")
    bound = 2 * truth_and_bound(x, (gate, up, down))[1]
    close(port.mlp(x, gate[order], up[order], down[:, order]), double(y), bound, "hidden channels in another order")


def tokens_do_not_know_each_other(port: Port, draw: Draw) -> None:
    """The MLP of several tokens is the MLP of each."""
    dtype, T, E, F = draw("dtype", dtypes), draw("T", sizes), draw("E", sizes), draw("F", sizes)
    x, w = draw("x", numbers((1, T, E), dtype, largest=16)), draw_weights(draw, dtype, E, F)
    apart = np.concatenate([port.mlp(x[:, t : t + 1], *w) for t in range(T)], axis=1)
    close(port.mlp(x, *w), double(apart), 2 * truth_and_bound(x, w)[1], "several tokens are each token alone")


def is_the_formula(port: Port, draw: Draw) -> None:
    """y = (silu(x W_gateᵀ + b) ⊙ (x W_upᵀ + b)) W_downᵀ + b, within the roundings of the dtype."""
    dtype, T, E, F = draw("dtype", dtypes), draw("T", sizes), draw("E", sizes), draw("F", sizes)
    x, w = draw("x", numbers((1, T, E), dtype, largest=16)), draw_weights(draw, dtype, E, F)
    expected, bound = truth_and_bound(x, w)
    close(port.mlp(x, *w), expected, bound, "(silu(x W_gateᵀ) ⊙ (x W_upᵀ)) W_downᵀ")
    biases = tuple(draw(f"{name}_bias", weights((n,), dtype)) for name, n in (("gate", F), ("up", F), ("down", E)))
    expected, bound = truth_and_bound(x, w, biases)
    close(port.mlp(x, *w, *biases), expected, bound, "the same with biases")


PROPERTIES = (
    values_worked_out_by_hand,
    keeps_shape_and_dtype,
    a_closed_gate_lets_nothing_through,
    is_linear_in_up_and_not_in_gate,
    order_of_hidden_channels_does_not_matter,
    tokens_do_not_know_each_other,
    is_the_formula,
)
