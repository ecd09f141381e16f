"""The door of the model: what a caller passes is checked here, once, so that no formula behind it has to."""

from typing import Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig


def check_input_ids(input_ids: Any, vocab_size: int, cache: KVCache | None) -> np.ndarray:
    """(B, T) integers in 0 … V − 1, at least one of them, as many rows as the cache has.

    raises  LlamaError otherwise; for an id out of range it says where it stands
    """
    ids = as_integers(input_ids, "input_ids")
    if ids.ndim != 2 or ids.size == 0:
        raise LlamaError(
            "wrong shape",
            where="input_ids",
            expected="(batch, tokens), with at least one token",
            found=ids.shape,
        )
    outside = (ids < 0) | (ids >= vocab_size)
    if outside.any():
        row, column = (int(i) for i in np.argwhere(outside)[0])
        raise LlamaError(
            "token id out of range",
            where=f"input_ids[{row}, {column}]",
            expected=f"0 … {vocab_size - 1}",
            found=int(ids[row, column]),
        )
    if cache is not None and cache.batch_size not in (None, len(ids)):
        raise LlamaError(
            "batch doesn't fit the cache",
            where="input_ids",
            expected=f"{cache.batch_size} rows",
            found=len(ids),
        )
    return ids.astype(np.int64, copy=False)


def check_cache(cache: Any, config: LlamaConfig, dtype: np.dtype) -> None:
    """A KVCache of such a model, every layer as long as the last: what an interrupted call left over is dropped.

    raises  LlamaError where past_key_values is no KVCache, or one of a model with other layers, heads or dtype
    """
    if not isinstance(cache, KVCache):
        raise LlamaError("wrong type", where="past_key_values", expected="a KVCache", found=type(cache).__name__)
    if cache.num_hidden_layers != config.num_hidden_layers:
        raise LlamaError(
            "cache of another model",
            where="past_key_values",
            expected=f"{config.num_hidden_layers} layers",
            found=cache.num_hidden_layers,
        )
    expected = (config.num_key_value_heads, config.head_dim, dtype)
    if cache.kind not in (None, expected):
        raise LlamaError(
            "cache of another model",
            where="past_key_values",
            expected="{} heads of {} channels, {}".format(*expected),
            found="{} heads of {} channels, {}".format(*cache.kind),
        )
    cache.crop(len(cache))  # a call that was interrupted has grown some layers and not the others


def check_logits_to_keep(logits_to_keep: Any) -> None:
    """raises  LlamaError where it is no number of positions"""
    if not isinstance(logits_to_keep, int | np.integer) or logits_to_keep < 0:
        raise LlamaError(
            "impossible value",
            where="logits_to_keep",
            expected="0 for all positions, or how many",
            found=logits_to_keep,
        )


def check_attention_mask(attention_mask: Any, batch: int, total: int) -> np.ndarray | None:
    """(B, S) zeros and ones over cached and new tokens; None where every token is real.

    raises  LlamaError otherwise
    """
    if attention_mask is None:
        return None
    try:
        mask = np.asarray(attention_mask)
    except ValueError:
        raise LlamaError("rows of several lengths", where="attention_mask", expected=f"{(batch, total)}") from None
    if mask.shape != (batch, total):
        raise LlamaError(
            "wrong shape",
            where="attention_mask",
            expected=f"{(batch, total)}: batch, cached and new tokens",
            found=mask.shape,
        )
    if not np.isin(mask, (0, 1)).all():
        raise LlamaError(
            "wrong values", where="attention_mask", expected="0 or 1", found=mask[~np.isin(mask, (0, 1))][0]
        )
    return None if mask.all() else mask.astype(np.int64)  # an unsigned or float mask would do other arithmetic


def check_position_ids(position_ids: Any, batch: int, new: int, past: int) -> np.ndarray:
    """(B, T) or (1, T) positions; those that follow the cache where none are given.

    raises  LlamaError for another shape or a negative position
    """
    if position_ids is None:
        return np.arange(past, past + new)[None]  # (1, T)
    positions = as_integers(position_ids, "position_ids")
    if positions.ndim != 2 or positions.shape[0] not in (1, batch) or positions.shape[1] != new:
        raise LlamaError(
            "wrong shape",
            where="position_ids",
            expected=f"{(batch, new)} or {(1, new)}",
            found=positions.shape,
        )
    if positions.min() < 0:
        raise LlamaError("negative position", where="position_ids", expected="0 or more", found=int(positions.min()))
    return positions


def as_integers(values: Any, name: str) -> np.ndarray:
    """An array of integers from an array or nested lists of them.

    raises  LlamaError for anything else: floats, strings, rows of several lengths
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise LlamaError("rows of several lengths", where=name, expected="a rectangle of integers") from None
    if array.dtype.kind not in "iu":
        if array.size == 0:
            return array.astype(np.int64)
        raise LlamaError("wrong dtype", where=name, expected="integers", found=array.dtype)
    return array
