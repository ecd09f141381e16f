"""Embeddings done wrong."""

import numpy as np

from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong

Array = np.ndarray


def embedding_off_by_one(input_ids: Array, weight: Array) -> Array:
    """ids off by one"""
    return weight[(input_ids + 1) % len(weight)]


def embedding_of_columns(input_ids: Array, weight: Array) -> Array:
    """columns of the table instead of rows"""
    return np.take(weight, input_ids % weight.shape[1], axis=1).transpose(1, 2, 0)


def embedding_scaled(input_ids: Array, weight: Array) -> Array:
    """embedding scaled by √E"""
    return weight[input_ids] * weight.dtype.type(weight.shape[1] ** 0.5)  # Gemma does this, Llama doesn't


def embedding_widened(input_ids: Array, weight: Array) -> Array:
    """embedding widened to float64"""
    return weight[input_ids].astype(np.float64)


WRONG: Wrong = {
    "embedding": (
        embedding_off_by_one,
        embedding_of_columns,
        embedding_scaled,
        embedding_widened,
    ),
}
