"""Activations done wrong."""

import numpy as np

from numpy_llama.blocks.activations import silu
from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong
from numpy_llama.precision import widen

Array = np.ndarray


def activation_sigmoid(x: Array) -> Array:
    """sigmoid instead of silu"""
    return (1 / (1 + np.exp(-widen(x)))).astype(x.dtype)


def activation_relu(x: Array) -> Array:
    """relu instead of silu"""
    return np.maximum(x, x.dtype.type(0))


def activation_gelu(x: Array) -> Array:
    """gelu instead of silu"""
    wide = widen(x)
    inner = np.sqrt(2 / np.pi).astype(wide.dtype) * (wide + wide.dtype.type(0.044715) * wide**3)
    return (wide * (1 + np.tanh(inner)) / 2).astype(x.dtype)


def activation_quick_gelu(x: Array) -> Array:
    """quick gelu instead of silu"""
    wide = widen(x)
    return (wide / (1 + np.exp(wide.dtype.type(-1.702) * wide))).astype(x.dtype)


def activation_sign_slip(x: Array) -> Array:
    """exp(x) instead of exp(−x)"""
    wide = widen(x)
    return (wide / (1 + np.exp(wide))).astype(x.dtype)


def activation_overflows(x: Array) -> Array:
    """silu that overflows"""
    wide = widen(x)
    return (wide * np.exp(wide) / (1 + np.exp(wide))).astype(x.dtype)


def activation_in_double(x: Array) -> Array:
    """silu promoted to float64"""
    return silu(x.astype(np.float64))


WRONG: Wrong = {
    "activation": (
        activation_sigmoid,
        activation_relu,
        activation_gelu,
        activation_quick_gelu,
        activation_sign_slip,
        activation_overflows,
        activation_in_double,
    ),
}
