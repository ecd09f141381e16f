"""Causal masks done wrong."""

import numpy as np

from numpy_llama.blocks.causal_mask import causal_mask
from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong

Array = np.ndarray


def mask_hides_the_token_itself(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """a token doesn't see itself"""
    mask = np.array(causal_mask(new, total, dtype, attention_mask))
    mask[..., np.arange(new), np.arange(total - new, total)] = causal_mask(2, 2, dtype)[0, 0, 0, 1]
    return mask


def mask_shows_one_to_come(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """a token sees the next one"""
    visible = np.arange(total) <= np.arange(total - new, total)[:, None] + 1
    return np.where(visible, dtype.type(0), causal_mask(new, total, dtype, attention_mask))


def mask_transposed(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """mask upper triangular"""
    return causal_mask(new, total, dtype, attention_mask)[..., ::-1, ::-1]


def mask_forgets_the_past(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """mask forgets the cached tokens"""
    visible = np.arange(total) <= np.arange(new)[:, None]  # rows counted from 0, as if nothing were cached
    closed = causal_mask(2, 2, dtype)[0, 0, 0, 1]
    return np.minimum(causal_mask(new, total, dtype, attention_mask), np.where(visible, dtype.type(0), closed))


def mask_open(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """nothing masked"""
    return np.zeros_like(causal_mask(new, total, dtype, attention_mask))


def mask_ignores_padding(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """padding not masked"""
    rows = 1 if attention_mask is None else len(attention_mask)
    return np.repeat(causal_mask(new, total, dtype), rows, axis=0)


def mask_ignores_padding_of_the_cache(
    new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None
) -> Array:
    """padding not masked in the cache"""
    if total == new:
        return causal_mask(new, total, dtype, attention_mask)
    return mask_ignores_padding(new, total, dtype, attention_mask)


def mask_inverts_padding(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """padding mask upside down"""
    return causal_mask(new, total, dtype, None if attention_mask is None else 1 - attention_mask)


def mask_of_ones(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """mask of −1"""
    return np.where(causal_mask(new, total, dtype, attention_mask) == 0, dtype.type(0), dtype.type(-1))


def mask_of_infinity(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """mask of −∞"""
    return np.where(causal_mask(new, total, dtype, attention_mask) == 0, dtype.type(0), dtype.type(-np.inf))


def mask_in_double(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """mask in float64"""
    return causal_mask(new, total, dtype, attention_mask).astype(np.float64)


WRONG: Wrong = {
    "causal_mask": (
        mask_hides_the_token_itself,
        mask_shows_one_to_come,
        mask_transposed,
        mask_forgets_the_past,
        mask_open,
        mask_ignores_padding,
        mask_ignores_padding_of_the_cache,
        mask_inverts_padding,
        mask_of_ones,
        mask_of_infinity,
        mask_in_double,
    ),
}
