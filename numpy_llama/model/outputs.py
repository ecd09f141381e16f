"""What a model returns: an object with named fields that is also a tuple of those that are there.

    output = model(input_ids)
    output.logits              # by name
    logits, cache = output     # by position; fields that are None take no place
    output["logits"]           # as a mapping

source  ModelOutput in Transformers
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache


class ModelOutput:
    """Base of the outputs: fields by name, by key, and by position among those that aren't None."""

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that aren't None, in order."""
        values = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        return tuple(value for value in values if value is not None)

    def keys(self) -> list[str]:
        """Names of the fields that aren't None, in order."""
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self.keys():
                raise KeyError(key)
            return getattr(self, key)
        return self.to_tuple()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_tuple())

    def __len__(self) -> int:
        return len(self.to_tuple())

    def __contains__(self, key: object) -> bool:
        return key in self.keys()


@dataclass
class BaseModelOutputWithPast(ModelOutput):
    """What LlamaModel returns.

    last_hidden_state  (B, T, E), after the final norm
    past_key_values    the cache, where one is used
    hidden_states      L + 1 arrays (B, T, E), where asked for: the embedding, then the output of each layer; the last
                       one is after the final norm
    """

    last_hidden_state: np.ndarray
    past_key_values: KVCache | None = None
    hidden_states: tuple[np.ndarray, ...] | None = None


@dataclass
class CausalLMOutputWithPast(ModelOutput):
    """What LlamaForCausalLM returns.

    logits           (B, T, V)
    past_key_values  the cache, where one is used
    hidden_states    as in BaseModelOutputWithPast
    """

    logits: np.ndarray
    past_key_values: KVCache | None = None
    hidden_states: tuple[np.ndarray, ...] | None = None
