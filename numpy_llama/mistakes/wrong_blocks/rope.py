"""RoPE done wrong: its frequencies, its tables, its rotation."""

import numpy as np

from numpy_llama.blocks.rope import apply_rope, rope_frequencies, rope_tables, rotate_half
from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong
from numpy_llama.probe import probe

Array = np.ndarray


def frequencies_from_half_the_exponent(head_dim: int, theta: float, dtype: np.dtype) -> Array:
    """exponent −i/D instead of −2i/D"""
    frequencies = rope_frequencies(head_dim, theta, dtype)
    return np.sqrt(frequencies)  # θ^(−i/D) instead of θ^(−2i/D)


def frequencies_upside_down(head_dim: int, theta: float, dtype: np.dtype) -> Array:
    """frequencies upside down"""
    return 1 / rope_frequencies(head_dim, theta, dtype)


def frequencies_with_theta_fixed(head_dim: int, theta: float, dtype: np.dtype) -> Array:
    """theta fixed at 10,000"""
    return rope_frequencies(head_dim, 10000.0, dtype)


def frequencies_in_double(head_dim: int, theta: float, dtype: np.dtype) -> Array:
    """frequencies in float64"""
    return rope_frequencies(head_dim, theta, np.dtype(np.float64))


def frequencies_in_two_bytes(head_dim: int, theta: float, dtype: np.dtype) -> Array:
    """frequencies in two bytes"""
    return rope_frequencies(head_dim, theta, dtype).astype(dtype)


def tables_one_position_late(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """positions off by one"""
    return rope_tables(position_ids + 1, frequencies, dtype, attention_scaling)


def tables_from_zero_every_call(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """positions from zero in every call"""
    return rope_tables(position_ids - position_ids[:, :1], frequencies, dtype, attention_scaling)


def tables_of_the_first_row(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """positions of the first row for all"""
    return rope_tables(position_ids[:1], frequencies, dtype, attention_scaling)


def tables_swapped(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """cos and sin swapped"""
    angles = np.tile(position_ids[..., None].astype(frequencies.dtype) * frequencies, 2)
    cos, sin = ((f(angles) * attention_scaling).astype(dtype) for f in (np.cos, np.sin))
    return probe("cos", sin), probe("sin", cos)


def tables_in_double(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """tables in float64"""
    return rope_tables(position_ids, frequencies, np.dtype(np.float64), attention_scaling)


def tables_from_two_byte_angles(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """angles in two bytes"""
    angles = (position_ids[..., None].astype(dtype) * frequencies.astype(dtype)).astype(frequencies.dtype)
    angles = np.concatenate((angles, angles), axis=-1)
    scaling = frequencies.dtype.type(attention_scaling)
    return (np.cos(angles) * scaling).astype(dtype), (np.sin(angles) * scaling).astype(dtype)


def tables_without_scaling(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """attention scaling of the tables left out"""
    return rope_tables(position_ids, frequencies, dtype)


def rope_of_neighbours(x: Array, cos: Array, sin: Array) -> Array:
    """neighbouring channels paired (Meta's layout)"""
    half = x.shape[-1] // 2
    cos, sin = np.repeat(cos[..., :half], 2, axis=-1)[:, None], np.repeat(sin[..., :half], 2, axis=-1)[:, None]
    turned = np.stack((-x[..., 1::2], x[..., ::2]), axis=-1).reshape(x.shape)
    return x * cos + turned * sin


def rope_of_neighbours_by_halves(x: Array, cos: Array, sin: Array) -> Array:
    """neighbours paired, tables laid out in halves"""
    turned = np.stack((-x[..., 1::2], x[..., ::2]), axis=-1).reshape(x.shape)
    return x * cos[:, None] + turned * sin[:, None]


def rope_backwards(x: Array, cos: Array, sin: Array) -> Array:
    """rotation the other way"""
    return apply_rope(x, cos, -sin)


def rope_without_minus(x: Array, cos: Array, sin: Array) -> Array:
    """minus of rotate_half left out"""
    return x * cos[:, None] + np.roll(x, x.shape[-1] // 2, axis=-1) * sin[:, None]


def rope_left_out(x: Array, cos: Array, sin: Array) -> Array:
    """rotation left out"""
    return x


def rope_twice(x: Array, cos: Array, sin: Array) -> Array:
    """rotated twice"""
    return apply_rope(apply_rope(x, cos, sin), cos, sin)


def rope_by_head(x: Array, cos: Array, sin: Array) -> Array:
    """rotated by head instead of by token"""
    H, T = x.shape[1:3]
    order = np.arange(H) % T  # tables laid along the heads' axis instead of the tokens'
    cos, sin = cos[:, order, None], sin[:, order, None]
    return x * cos + rotate_half(x) * sin


WRONG: Wrong = {
    "rope_frequencies": (
        frequencies_from_half_the_exponent,
        frequencies_upside_down,
        frequencies_with_theta_fixed,
        frequencies_in_double,
        frequencies_in_two_bytes,
    ),
    "rope_tables": (
        tables_one_position_late,
        tables_from_zero_every_call,
        tables_of_the_first_row,
        tables_swapped,
        tables_in_double,
        tables_from_two_byte_angles,
        tables_without_scaling,
    ),
    "apply_rope": (
        rope_of_neighbours,
        rope_of_neighbours_by_halves,
        rope_backwards,
        rope_without_minus,
        rope_left_out,
        rope_twice,
        rope_by_head,
    ),
}
