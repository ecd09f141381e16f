"""Linear layers done wrong."""

import numpy as np

from numpy_llama.blocks.linear import linear
from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong
from numpy_llama.precision import widen

Array = np.ndarray


def linear_with_weight_as_stored(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """weight taken as (inputs, outputs)"""
    return linear(x, weight.T, bias)


def linear_without_bias(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """bias left out"""
    return linear(x, weight)


def linear_in_two_bytes(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """products added up in two bytes"""
    y = np.zeros((*x.shape[:-1], len(weight)), x.dtype)
    for i in range(x.shape[-1]):
        y = y + x[..., i, None] * weight[:, i]
    return y if bias is None else y + bias


def linear_not_rounded_back(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """product not rounded back to the dtype"""
    return widen(x) @ widen(weight).T + (0 if bias is None else widen(bias))


WRONG: Wrong = {
    "linear": (
        linear_with_weight_as_stored,
        linear_without_bias,
        linear_in_two_bytes,
        linear_not_rounded_back,
    ),
}
