"""The ways in which a mistake is put into a subject. None of them touches the subject it is given.

    with_blocks(subject, rms_norm=wrong)                  another function in a block's place
    with_config(subject, rms_norm_eps=1e-6)               another field of the config
    with_weights(subject, {name: array})                  another tensor; all others are shared
    with_calls(subject, lambda call: replace(call, …))    other ids, masks or positions
    with_value(subject, "model.layers.*.mlp", wrong)      another array in a named value's place, lm_head's included
    with_value_from(subject, "model.norm", "model.layers.1", lambda normed, hidden: hidden)
                                                          the same, made with the help of an earlier value
    with_cache(subject, Wrong)                            another KV cache
    with_cache_update(subject, wrong)                     other keys or values into the cache

Each adds to what is planted already, so that two mistakes stand in one subject.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fnmatch import translate
from functools import partial
from typing import Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.errors import LlamaWarning
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.values import layer_of, table_name
from numpy_llama.precision import DTYPES
from numpy_llama.probe import Call, Observer
from numpy_llama.study.subject import Asked, Subject

Change = Callable[[np.ndarray], np.ndarray]


def with_blocks(subject: Subject, **functions: Callable) -> Subject:
    """The subject computing through other functions in some blocks."""
    return replace(subject, blocks=subject.blocks.swap(**functions))


def with_config(subject: Subject, **fields: Any) -> Subject:
    """The subject with other fields in its config."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LlamaWarning)  # a wrong config may well be an odd one
        return replace(subject, config=replace(subject.config, **fields))


def with_weights(subject: Subject, tensors: Mapping[str, np.ndarray]) -> Subject:
    """The subject with other tensors under some names; the rest is shared, not copied."""
    return replace(subject, weights={**subject.weights, **tensors})


def with_calls(subject: Subject, change: Callable[[Asked], Asked]) -> Subject:
    """The subject with each call asked in another way."""
    return replace(subject, calls=tuple(change(asked) for asked in subject.calls))


def with_value(subject: Subject, names: str, change: Change, calls: Callable[[Call], bool] | None = None) -> Subject:
    """The subject with other arrays in the place of some named values, as soon as they are computed.

    names   a glob of full names: "model.layers.*.self_attn.v_proj", "lm_head" for the logits
    change  the new array from the old one, which is not to be written into
    calls   the calls of the model in which to do so; all unless given
    """
    matches = re.compile(translate(names)).match

    def observer(name: str, value: np.ndarray, call: Call) -> np.ndarray | None:
        return change(value) if matches(name) and (calls is None or calls(call)) else None

    return with_observer(subject, lambda: observer)


def with_observer(subject: Subject, make: Callable[[], Observer]) -> Subject:
    """The subject under one more observer; `make` makes a fresh one for each run, for one that remembers things."""
    return replace(subject, observers=(*subject.observers, make))


def with_value_from(subject: Subject, name: str, earlier: str, change: Callable[..., np.ndarray]) -> Subject:
    """The subject with other arrays in the place of a value, made from it and from one that was computed before it.

    name, earlier  full names; "{i}" stands for a layer, the same in both
    change         change(value, earlier value) gives the new array; neither is to be written into
    """

    def make() -> Observer:
        seen: dict[str, np.ndarray] = {}

        def observer(full_name: str, value: np.ndarray, call: Call) -> np.ndarray | None:
            if _is_named(earlier, full_name):
                seen[full_name] = value
            if not _is_named(name, full_name):
                return None
            return change(value, seen[earlier.replace("{i}", str(layer_of(full_name)))])

        return observer

    return with_observer(subject, make)


def _is_named(name: str, full_name: str) -> bool:
    return name in (full_name, table_name(full_name))


def with_cache(subject: Subject, cache: Callable[[LlamaConfig], KVCache]) -> Subject:
    """The subject with another KV cache, which `cache` makes for each text."""
    return replace(subject, cache=cache)


def with_cache_update(subject: Subject, update: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Subject:
    """The subject whose KV cache is updated in another way.

    update  update(put, key, value, layer_index) → keys, values; put is the cache's own update, without it
    """

    def cache(config: LlamaConfig) -> KVCache:
        made = subject.cache(config)
        made.update = partial(update, made.update)  # type: ignore[method-assign]
        return made

    return with_cache(subject, cache)


def narrow_dtypes(subject: Subject) -> Iterator[tuple[str, np.dtype]]:
    """(name, dtype) of the two-byte dtypes that a port may have rounded to: the subject's own, or else both."""
    own = next(iter(subject.weights.values())).dtype
    names = [own.name] if own.itemsize == 2 else ["float16", "bfloat16"]
    yield from ((name, DTYPES[name]) for name in names)


def rounded_to(dtype: np.dtype) -> Change:
    """Rounds an array to a dtype, and gives back the dtype that it had."""
    return lambda array: array.astype(dtype).astype(array.dtype)
