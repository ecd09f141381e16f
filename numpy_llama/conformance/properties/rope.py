"""What RoPE must do: rope_frequencies, rope_tables and apply_rope, each by itself and the three together."""

import math

import numpy as np
from hypothesis import strategies as st

from numpy_llama.conformance.draws import Draw, double, dtypes, numbers, sizes, wide_dtypes
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import close, equal, is_array, tolerance
from numpy_llama.precision import compute_dtype

pairs = st.integers(1, 3)  # D / 2
positions = st.integers(0, 20)
THETA = 100.0  # small, so that the slow pairs turn visibly within 20 tokens


def tables(port: Port, position: int, head_dim: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of one position, (1, 1, D) each."""
    frequencies = port.rope_frequencies(head_dim, THETA, dtype)
    return port.rope_tables(np.array([[position]]), frequencies, dtype)


def rotated(port: Port, x: np.ndarray, position: int) -> np.ndarray:
    """x (D,) at a position; the whole of RoPE."""
    x = x[None, None, None]  # (1, 1, 1, D)
    got = port.apply_rope(x, *tables(port, position, x.shape[-1], x.dtype))
    is_array(got, x.shape, "a rotated vector")
    return got[0, 0, 0]


def both(x: np.ndarray) -> np.ndarray:
    """|a| + |b| of the pair that each channel stands in: the absolute terms of its rotation."""
    size = np.abs(double(x))
    return size + np.roll(size, x.shape[-1] // 2, axis=-1)


def allowed(x: np.ndarray, angle: float) -> np.ndarray:
    """Of one rotation by angles up to `angle`: cos and sin are rounded to the dtype, each product, and the sum: 3.
    Before that the angle is a rounded product of a rounded float, which moves cos and sin by `angle` units; cos
    itself by 2."""
    return tolerance(x.dtype, both(x), narrow=3, wide=math.ceil(angle) + 2)


def frequencies_worked_out_by_hand(port: Port, draw: Draw) -> None:
    """D = 4 and θ = 10,000: ω = (1, θ^(−2/4)) = (1, 1/100); D = 8: ω = (1, 1/10, 1/100, 1/1000)."""
    dtype = np.dtype(np.float64)
    # 1e-15: some five roundings of a number up to 1.
    close(port.rope_frequencies(4, 10000.0, dtype), [1, 0.01], 1e-15, "D = 4")
    close(port.rope_frequencies(8, 10000.0, dtype), [1, 0.1, 0.01, 0.001], 1e-15, "D = 8")


def frequencies_are_the_formula(port: Port, draw: Draw) -> None:
    """ω_i = θ^(−2i/D), in float32 (float64 for float64) even where the model's dtype is a two-byte one."""
    dtype, half = draw("dtype", dtypes), draw("D / 2", st.integers(1, 8))
    theta = draw("theta", st.sampled_from((10000.0, 100.0, 500000.0)))
    got = port.rope_frequencies(2 * half, theta, dtype)
    is_array(got, (half,), "shape and dtype of ω", compute_dtype(dtype))
    truth = theta ** -(np.arange(0, 2 * half, 2) / (2 * half))
    # A rounded exponent moves the power by ln θ units; the power itself is good to 2, and there are up to 2 roundings
    # more.
    close(got, truth, tolerance(got.dtype, truth, narrow=math.ceil(math.log(theta)) + 4), "ω_i = θ^(−2i/D)")


def tables_worked_out_by_hand(port: Port, draw: Draw) -> None:
    """A pair that turns by π/2 a token: cos = 1, 0, −1 and sin = 0, 1, 0 at positions 0, 1, 2; both halves of D
    alike."""
    cos, sin = port.rope_tables(np.array([[0, 1, 2]]), np.array([np.pi / 2]), np.dtype(np.float64))
    # 1e-15: π/2 is itself rounded, by 6e-17; twice that at position 2.
    close(cos, [[[1, 1], [0, 0], [-1, -1]]], 1e-15, "cos(0, π/2, π)")
    close(sin, [[[0, 0], [1, 1], [0, 0]]], 1e-15, "sin(0, π/2, π)")


def tables_are_the_formula(port: Port, draw: Draw) -> None:
    """cos[b, t, i] = cos[b, t, i + D/2] = cos(position · ω_i) · scaling, sin alike, both of the model's dtype."""
    dtype, half = draw("dtype", dtypes), draw("D / 2", pairs)
    at = np.array(draw("position_ids", st.lists(st.lists(positions, min_size=2, max_size=2), min_size=1, max_size=2)))
    scaling = draw("attention_scaling", st.sampled_from((1.0, 1.25)))
    frequencies = port.rope_frequencies(2 * half, THETA, dtype)
    cos, sin = port.rope_tables(at, frequencies, dtype, scaling)
    angles = np.concatenate([at[..., None] * double(frequencies)] * 2, axis=-1)  # (B, T, D)
    for name, got, function in (("cos", cos, np.cos), ("sin", sin, np.sin)):
        truth = function(angles) * scaling
        is_array(got, angles.shape, f"shape and dtype of {name}", dtype)
        # One rounding to the dtype. The angle's own rounding moves the result by |angle| units; the function and the
        # scaling by 2 more.
        bound = tolerance(dtype, truth, narrow=1, wide=3, terms=scaling * (np.abs(angles) + 1))
        close(got, truth, bound, f"{name}(position · ω)")


def large_positions_keep_their_angle(port: Port, draw: Draw) -> None:
    """Angles are float32 even in a two-byte model: bfloat16 has no 257, and 257 radians aren't 256."""
    dtype, position = draw("dtype", dtypes), draw("position", st.sampled_from((257, 4097, 100001)))
    cos, _ = port.rope_tables(np.array([[position]]), np.ones(1, compute_dtype(dtype)), dtype)
    truth = np.full((1, 1, 2), np.cos(position))
    # The angle is an integer and exact, so nothing but cos itself and one rounding.
    close(cos, truth, tolerance(dtype, truth, narrow=1, wide=2, terms=1.0), f"cos({position})")


def position_zero_changes_nothing(port: Port, draw: Draw) -> None:
    """R_0 x = x, exactly: cos 0 = 1 and sin 0 = 0."""
    dtype, half = draw("dtype", dtypes), draw("D / 2", pairs)
    x = draw("x", numbers((2 * half,), dtype))
    equal(rotated(port, x, 0), double(x), "R_0 x = x")


def pairs_are_halves_and_turn_forward(port: Port, draw: Draw) -> None:
    """Channel i and channel i + D/2 are one point in the plane: e_i turns to cos φ e_i + sin φ e_(i + D/2), φ = pos ·
    ω_i."""
    dtype, half = draw("dtype", dtypes), draw("D / 2", pairs)
    position, i = draw("position", positions), draw("i", st.integers(0, 2))
    i = min(i, half - 1)
    angle = position * double(port.rope_frequencies(2 * half, THETA, dtype))[i]
    e = np.eye(2 * half, dtype=dtype)
    first, second = np.zeros(2 * half), np.zeros(2 * half)
    first[[i, i + half]] = np.cos(angle), np.sin(angle)
    second[[i, i + half]] = -np.sin(angle), np.cos(angle)
    close(rotated(port, e[i], position), first, allowed(e[i], angle), f"where e_{i} goes")
    close(rotated(port, e[i + half], position), second, allowed(e[i + half], angle), f"where e_{i + half} goes")


def keeps_shape_and_dtype(port: Port, draw: Draw) -> None:
    """Rotated queries have the shape and the dtype of queries."""
    dtype, heads, tokens, half = draw("dtype", dtypes), draw("H", sizes), draw("T", sizes), draw("D / 2", pairs)
    x = draw("x", numbers((1, heads, tokens, 2 * half), dtype))
    cos, sin = port.rope_tables(np.arange(tokens)[None], port.rope_frequencies(2 * half, THETA, dtype), dtype)
    is_array(port.apply_rope(x, cos, sin), x.shape, "shape and dtype", dtype)


def keeps_norms(port: Port, draw: Draw) -> None:
    """|R_m x| = |x|."""
    dtype, half = draw("dtype", dtypes), draw("D / 2", pairs)
    x, position = draw("x", numbers((2 * half,), dtype)), draw("position", positions)
    turned = double(rotated(port, x, position))
    # A vector whose components are off by d is off by at most |d| in length.
    bound = np.linalg.norm(allowed(x, position))
    close(np.asarray(np.linalg.norm(turned)), np.linalg.norm(double(x)), bound, "|R_m x| = |x|")


def rotations_add_up(port: Port, draw: Draw) -> None:
    """R_a R_b = R_(a + b)."""
    dtype, half = draw("dtype", wide_dtypes), draw("D / 2", pairs)
    x, a, b = draw("x", numbers((2 * half,), dtype)), draw("a", positions), draw("b", positions)
    # Three rotations, each of vectors no longer than the pair's |a| + |b|, the second of one already off by the first.
    bound = 2 * (allowed(x, a) + allowed(x, b) + allowed(x, a + b))
    bound = bound.max()  # an error in one channel of a pair is turned into the other
    close(rotated(port, rotated(port, x, b), a), double(rotated(port, x, a + b)), bound, f"R_{a} R_{b} = R_{a + b}")


def products_know_the_distance_alone(port: Port, draw: Draw) -> None:
    """⟨R_m q, R_n k⟩ depends on n − m alone: moving both by s changes nothing."""
    dtype, half = draw("dtype", wide_dtypes), draw("D / 2", pairs)
    q, k = draw("q", numbers((2 * half,), dtype)), draw("k", numbers((2 * half,), dtype))
    m, n, s = draw("m", positions), draw("n", positions), draw("s", positions)
    here = double(rotated(port, q, m)) @ double(rotated(port, k, n))
    there = double(rotated(port, q, m + s)) @ double(rotated(port, k, n + s))
    # The error of a product of two vectors: each off by its own bound, times the length of the other, for both
    # products; twice the bound leaves room for the products of two errors and, in float64, for these sums.
    error_q, error_k = allowed(q, m + s), allowed(k, n + s)
    bound = 2 * 2 * (error_q @ both(k) + error_k @ both(q))
    close(np.array(there), np.array(here), bound, f"⟨R_{m} q, R_{n} k⟩, and both {s} tokens on")


def heads_and_rows_turn_by_their_own_position(port: Port, draw: Draw) -> None:
    """Every head turns alike; token t of row b turns by position_ids[b, t] and nothing else."""
    dtype, half = draw("dtype", dtypes), draw("D / 2", pairs)
    at = np.array(draw("position_ids", st.lists(st.lists(positions, min_size=3, max_size=3), min_size=2, max_size=2)))
    x = draw("x", numbers((2, 2, 3, 2 * half), dtype))
    cos, sin = port.rope_tables(at, port.rope_frequencies(2 * half, THETA, dtype), dtype)
    got = port.apply_rope(x, cos, sin)
    is_array(got, x.shape, "rotated queries")
    for b, h, t in np.ndindex(2, 2, 3):
        alone = rotated(port, x[b, h, t], int(at[b, t]))
        bound = 2 * allowed(x[b, h, t], 20)
        close(got[b, h, t], double(alone), bound, f"row {b}, head {h}, token {t} at position {at[b, t]}")


PROPERTIES = (
    frequencies_worked_out_by_hand,
    frequencies_are_the_formula,
    tables_worked_out_by_hand,
    tables_are_the_formula,
    large_positions_keep_their_angle,
    keeps_shape_and_dtype,
    position_zero_changes_nothing,
    keeps_norms,
    rotations_add_up,
    products_know_the_distance_alone,
    pairs_are_halves_and_turn_forward,
    heads_and_rows_turn_by_their_own_position,
)
