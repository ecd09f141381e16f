"""KV caches done wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong

Array = np.ndarray


def cache_newest_first(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """newest tokens first"""
    held = cache._layers[layer_index]
    past = (held.keys[:, :, : held.length].copy(), held.values[:, :, : held.length].copy())
    keys, values = (a.copy() for a in KVCache.update(cache, key, value, layer_index))
    if past[0].size:
        keys, values = np.concatenate((key, past[0]), axis=2), np.concatenate((value, past[1]), axis=2)
    return keys, values


def cache_forgets_the_past(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """past tokens forgotten"""
    KVCache.update(cache, key, value, layer_index)
    return key, value


def cache_shared_by_layers(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """one cache for all layers"""
    return KVCache.update(cache, key, value, 0)


def cache_stores_keys_as_values(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """keys stored as values"""
    return KVCache.update(cache, key, key, layer_index)


def cache_in_double(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """cache in float64"""
    return KVCache.update(cache, key.astype(np.float64), value.astype(np.float64), layer_index)


def cache_returns_room_to_grow(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """free room returned with the tokens"""
    KVCache.update(cache, key, value, layer_index)
    return cache._layers[layer_index].keys, cache._layers[layer_index].values


def cache_overwrites_the_last(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """last token overwritten"""
    cache._layers[layer_index].length = max(cache._layers[layer_index].length - 1, 0)
    return KVCache.update(cache, key, value, layer_index)


def _cache_with(update: Callable[..., Any]) -> type[KVCache]:
    return type("WrongCache", (KVCache,), {"update": update, "__doc__": update.__doc__})


WRONG: Wrong = {
    "kv_cache": (
        _cache_with(cache_newest_first),
        _cache_with(cache_forgets_the_past),
        _cache_with(cache_shared_by_layers),
        _cache_with(cache_stores_keys_as_values),
        _cache_with(cache_in_double),
        _cache_with(cache_returns_room_to_grow),
        _cache_with(cache_overwrites_the_last),
    ),
}
