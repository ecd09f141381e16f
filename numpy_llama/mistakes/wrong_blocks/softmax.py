"""Softmax done wrong."""

import numpy as np

from numpy_llama.blocks.softmax import softmax
from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong
from numpy_llama.precision import widen

Array = np.ndarray


def softmax_over_queries(scores: Array) -> Array:
    """softmax over the queries"""
    return softmax(scores.swapaxes(-1, -2)).swapaxes(-1, -2) if scores.ndim > 1 else softmax(scores)


def softmax_over_everything(scores: Array) -> Array:
    """softmax over the whole array"""
    return softmax(scores.reshape(1, -1)).reshape(scores.shape)


def softmax_below_the_maximum_of_all(scores: Array) -> Array:
    """maximum over everything"""
    wide = widen(scores)
    exponentials = np.exp(wide - wide.max())  # 0 throughout a row far below another, and then 0/0
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(scores.dtype)


def softmax_without_maximum(scores: Array) -> Array:
    """maximum not taken off"""
    exponentials = np.exp(widen(scores))
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(scores.dtype)


def softmax_with_one_more(scores: Array) -> Array:
    """softmax with 1 + Σ"""
    wide = widen(scores)
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return (exponentials / (1 + exponentials.sum(axis=-1, keepdims=True))).astype(scores.dtype)


def softmax_base_two(scores: Array) -> Array:
    """powers of two instead of e"""
    return softmax((widen(scores) * np.float32(np.log(2))).astype(scores.dtype))


def softmax_of_the_negative(scores: Array) -> Array:
    """softmax of −x"""
    return softmax(-scores)


def softmax_in_two_bytes(scores: Array) -> Array:
    """softmax in two bytes"""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    total = np.zeros((*scores.shape[:-1], 1), scores.dtype)
    for i in range(scores.shape[-1]):
        total = total + exponentials[..., i, None]
    return exponentials / total


def softmax_not_rounded_back(scores: Array) -> Array:
    """softmax not rounded back to the dtype"""
    return softmax(widen(scores))


WRONG: Wrong = {
    "softmax": (
        softmax_over_queries,
        softmax_over_everything,
        softmax_below_the_maximum_of_all,
        softmax_without_maximum,
        softmax_with_one_more,
        softmax_base_two,
        softmax_of_the_negative,
        softmax_in_two_bytes,
        softmax_not_rounded_back,
    ),
}
