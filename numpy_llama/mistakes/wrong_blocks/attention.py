"""Attention done wrong."""

import numpy as np

from numpy_llama.blocks.attention import attention
from numpy_llama.blocks.softmax import softmax
from numpy_llama.mistakes.wrong_blocks.softmax import softmax_below_the_maximum_of_all, softmax_over_queries
from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong

Array = np.ndarray


def attention_heads_tiled(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """key/value heads tiled instead of repeated"""
    groups = query.shape[1] // key.shape[1]
    return attention(query, np.tile(key, (1, groups, 1, 1)), np.tile(value, (1, groups, 1, 1)), mask, scaling)


def attention_unscaled(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """scores not scaled"""
    return attention(query, key, value, mask, 1.0)


def attention_scaled_by_width(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """scores scaled by 1/√E"""
    width = query.shape[1] * query.shape[3]
    return attention(query, key, value, mask, width**-0.5 if scaling is None else scaling)  # 1/√E instead of 1/√D


def attention_scaled_by_head_dim(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """scores scaled by 1/D"""
    return attention(query, key, value, mask, 1 / query.shape[-1] if scaling is None else scaling)


def attention_without_mask(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """mask not used"""
    return attention(query, key, value, None, scaling)


def attention_masked_after_softmax(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """masked after the softmax"""
    if mask is None:
        return attention(query, key, value, None, scaling)
    cut = lambda scores: np.where(mask == 0, softmax(scores), scores.dtype.type(0))  # noqa: E731
    return attention(query, key, value, None, scaling, softmax=cut)


def attention_over_queries(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """attention normalised over the queries"""
    return attention(query, key, value, mask, scaling, softmax=softmax_over_queries)


def attention_below_one_maximum(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """one maximum for all queries"""
    return attention(query, key, value, mask, scaling, softmax=softmax_below_the_maximum_of_all)


def attention_keys_for_values(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """keys and values swapped"""
    return attention(query, value, key, mask, scaling)


def attention_heads_mixed_up(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """heads reshaped instead of transposed"""
    context = attention(query, key, value, mask, scaling)
    B, H, T, D = context.shape
    return context.swapaxes(1, 2).reshape(B, H, T, D)  # reshaped where it should have been transposed back


def attention_first_key_value_head_for_all(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """first key/value head for all queries"""
    return attention(query, key[:, :1], value[:, :1], mask, scaling)


def attention_keys_reversed(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """keys in another order than values"""
    return attention(query, key[:, :, ::-1], value, mask, scaling)


def attention_to_the_first_row(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """keys of the first row for the whole batch"""
    return attention(query, np.broadcast_to(key[:1], key.shape), value, mask, scaling)


def attention_in_double(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """attention promoted to float64"""
    wide_mask = None if mask is None else mask.astype(np.float64)
    return attention(query.astype(np.float64), key.astype(np.float64), value.astype(np.float64), wide_mask, scaling)


WRONG: Wrong = {
    "attention": (
        attention_heads_tiled,
        attention_unscaled,
        attention_scaled_by_width,
        attention_scaled_by_head_dim,
        attention_without_mask,
        attention_masked_after_softmax,
        attention_over_queries,
        attention_below_one_maximum,
        attention_keys_for_values,
        attention_heads_mixed_up,
        attention_first_key_value_head_for_all,
        attention_keys_reversed,
        attention_to_the_first_row,
        attention_in_double,
    ),
}
