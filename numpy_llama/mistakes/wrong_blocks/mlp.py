"""SwiGLU done wrong."""

from collections.abc import Callable

import numpy as np

from numpy_llama.blocks.activations import silu
from numpy_llama.blocks.linear import linear
from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong

Array = np.ndarray


def mlp_gate_and_up_swapped(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """gate and up swapped"""
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    return _mlp(x, up, gate, down, up_bias, gate_bias, down_bias)


def mlp_without_activation(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """activation left out"""
    return _mlp(x, gate, up, down, *biases, activation=lambda h: h)


def mlp_activation_after_product(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """activation after the product"""
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    return linear(silu(linear(x, gate, gate_bias) * linear(x, up, up_bias)), down, down_bias)


def mlp_adds_gate_and_up(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """gate and up added"""
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    return linear(silu(linear(x, gate, gate_bias)) + linear(x, up, up_bias), down, down_bias)


def mlp_without_up(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """up_proj left out"""
    gate_bias, _, down_bias = biases or (None, None, None)
    return linear(silu(linear(x, gate, gate_bias)), down, down_bias)


def mlp_adds_its_input(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """residual added inside the MLP"""
    return x + _mlp(x, gate, up, down, *biases)


def mlp_up_in_another_order(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """up_proj in another order than gate_proj"""
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    return _mlp(x, gate, up[::-1], down, gate_bias, None if up_bias is None else up_bias[::-1], down_bias)


def mlp_of_the_first_token(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """gate of the first token for all"""
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    return linear(silu(linear(x[:, :1], gate, gate_bias)) * linear(x, up, up_bias), down, down_bias)


def mlp_in_double(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """MLP promoted to float64"""
    return _mlp(x, gate, up, down, *biases).astype(np.float64)


def mlp_without_biases(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """biases of the MLP left out"""
    return _mlp(x, gate, up, down)


def _mlp(
    x: Array,
    gate: Array,
    up: Array,
    down: Array,
    gate_bias: Array | None = None,
    up_bias: Array | None = None,
    down_bias: Array | None = None,
    *,
    activation: Callable[[Array], Array] = silu,
) -> Array:
    return linear(activation(linear(x, gate, gate_bias)) * linear(x, up, up_bias), down, down_bias)


WRONG: Wrong = {
    "mlp": (
        mlp_gate_and_up_swapped,
        mlp_without_activation,
        mlp_activation_after_product,
        mlp_adds_gate_and_up,
        mlp_without_up,
        mlp_adds_its_input,
        mlp_up_in_another_order,
        mlp_of_the_first_token,
        mlp_in_double,
        mlp_without_biases,
    ),
}
