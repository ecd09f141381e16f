"""KV caches by the names that Transformers has for them, where they are classes."""

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig

LONGEST = 2**32  # tokens: past it every cache is larger than any memory


def DynamicCache(config: LlamaConfig) -> KVCache:
    """An empty cache that grows with the text.

    raises  LlamaError where config is no LlamaConfig
    """
    _check_config(config)
    return KVCache(config.num_hidden_layers)


def StaticCache(config: LlamaConfig, max_cache_len: int) -> KVCache:
    """An empty cache with room for `max_cache_len` tokens and never more.

    raises  LlamaError where config is no LlamaConfig, max_cache_len no positive integer, or one that no memory holds
    """
    _check_config(config)
    whole = isinstance(max_cache_len, int | np.integer) and not isinstance(max_cache_len, bool)
    if not whole or not 0 < max_cache_len <= LONGEST:
        expected = f"an integer, 1 … {LONGEST}"
        raise LlamaError("impossible value", where="max_cache_len", expected=expected, found=repr(max_cache_len))
    return KVCache(config.num_hidden_layers, capacity=max_cache_len, fixed=True)


def _check_config(config: object) -> None:
    if not isinstance(config, LlamaConfig):
        raise LlamaError("wrong type", where="config", expected="a LlamaConfig", found=type(config).__name__)
