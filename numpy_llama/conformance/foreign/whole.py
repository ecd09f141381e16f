"""A whole model of somebody's, as the judge sees it: ids in, logits out, with what it can take beside them.

    def make(config, weights):              # or: def logits(input_ids), a model that is already loaded
        model = MyLlama(config)             # config: the fields of config.json, a dict
        model.load(weights)                 # weights: name → array, Hugging Face's names
        return model                        # called: model(input_ids) → logits (B, T, V)

Where the callable has a parameter `attention_mask`, `position_ids`, or `cache` (or `past_key_values`), it is given what
its name says, by name. One with a cache returns (logits, cache), or an object with `.logits` and the cache under the
name of the parameter; its first call is given None, and later ones a mask of all tokens so far, (B, past + T).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpy_llama.conformance.foreign.arrays import Border, back
from numpy_llama.conformance.rounding import is_array

CACHES = ("cache", "past_key_values")
BESIDE = ("attention_mask", "position_ids")


@dataclass(frozen=True)
class Whole:
    """A callable model behind the border.

    model       theirs
    vocab_size  V of its logits
    border      to their arrays
    dtype       the dtype that it is held to compute in
    """

    model: Callable[..., Any]
    vocab_size: int
    border: Border
    dtype: str = "float32"

    def takes(self, name: str) -> bool:
        """Whether it takes `attention_mask`, `position_ids`, or "cache" under either name."""
        names = parameters_of(self.model)
        return any(cache in names for cache in CACHES) if name == "cache" else name in names

    def logits(self, input_ids: np.ndarray, **beside: np.ndarray | None) -> np.ndarray:
        """(B, T, V) of one call without a cache; what is None beside the ids isn't given."""
        return self.continued(input_ids, None, **beside)[0]

    def continued(self, input_ids: np.ndarray, cache: Any, **beside: np.ndarray | None) -> tuple[np.ndarray, Any]:
        """(logits, cache) of a call that goes on from a cache; None begins."""
        given = {name: self.border.out(value) for name, value in beside.items() if value is not None}
        holds = next((name for name in CACHES if name in parameters_of(self.model)), None)
        if holds:
            given[holds] = cache
        result = self.model(self.border.out(input_ids), **given)
        if holds and isinstance(result, tuple | list) and len(result) == 2:
            logits, cache = result
        else:
            logits = getattr(result, "logits", result)
            cache = getattr(result, holds, None) if holds else None
        logits = back(logits)
        is_array(logits, (*input_ids.shape, self.vocab_size), "logits")
        return logits, cache


def parameters_of(model: Callable[..., Any]) -> frozenset[str]:
    """Names of the parameters of a callable; of `forward`, where it is a module of torch's kind."""
    try:
        return frozenset(inspect.signature(getattr(model, "forward", model)).parameters)
    except (TypeError, ValueError):  # some builtins don't say
        return frozenset()


def made(
    make: Callable[..., Any], config: Mapping[str, Any], weights: Mapping[str, np.ndarray], border: Border, dtype: str
) -> Whole:
    """What their `make` makes of a config and weights, which are rounded to `dtype`."""
    from numpy_llama.precision import DTYPES

    theirs = {name: border.out(array.astype(DTYPES[dtype])) for name, array in weights.items()}
    return Whole(make(dict(config), theirs), config["vocab_size"], border, dtype)
