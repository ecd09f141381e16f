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
from numpy_llama.errors import LlamaError


class ModelOutput:
    """Base of the outputs: fields by name, by key, and by position among those that aren't None."""

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that aren't None, in order."""
        values = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        return tuple(value for value in values if value is not None)

    def keys(self) -> list[str]:
        """Names of the fields that aren't None, in order."""
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]  # type: ignore[arg-type]

    def values(self) -> tuple[Any, ...]:
        """What they hold; the same as to_tuple()."""
        return self.to_tuple()

    def items(self) -> list[tuple[str, Any]]:
        """Both, in pairs."""
        return list(zip(self.keys(), self.to_tuple(), strict=True))

    def get(self, key: str, default: Any = None) -> Any:
        """The field of that name, or the default where it is None."""
        return dict(self.items()).get(key, default)

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
    attentions         L arrays (B, H, T, S), where asked for: how much each token takes from each
    """

    last_hidden_state: np.ndarray
    past_key_values: KVCache | None = None
    hidden_states: tuple[np.ndarray, ...] | None = None
    attentions: tuple[np.ndarray, ...] | None = None


@dataclass
class CausalLMOutputWithPast(ModelOutput):
    """What LlamaForCausalLM returns.

    loss    (), where there are labels
    logits  (B, T, V)

    The other fields are those of BaseModelOutputWithPast.
    """

    loss: np.ndarray | None = None
    logits: np.ndarray = None  # type: ignore[assignment]
    past_key_values: KVCache | None = None
    hidden_states: tuple[np.ndarray, ...] | None = None
    attentions: tuple[np.ndarray, ...] | None = None


@dataclass
class SequenceClassifierOutputWithPast(ModelOutput):
    """What LlamaForSequenceClassification returns.

    loss    (), where there are labels
    logits  (B, N): one number for each label, of each row

    The other fields are those of BaseModelOutputWithPast.
    """

    loss: np.ndarray | None = None
    logits: np.ndarray = None  # type: ignore[assignment]
    past_key_values: KVCache | None = None
    hidden_states: tuple[np.ndarray, ...] | None = None
    attentions: tuple[np.ndarray, ...] | None = None


@dataclass
class TokenClassifierOutput(ModelOutput):
    """What LlamaForTokenClassification returns.

    loss    (), where there are labels
    logits  (B, T, N): one number for each label, of each token

    The other fields are those of BaseModelOutputWithPast.
    """

    loss: np.ndarray | None = None
    logits: np.ndarray = None  # type: ignore[assignment]
    hidden_states: tuple[np.ndarray, ...] | None = None
    attentions: tuple[np.ndarray, ...] | None = None


@dataclass
class QuestionAnsweringModelOutput(ModelOutput):
    """What LlamaForQuestionAnswering returns.

    loss                      (), where the true positions are given
    start_logits, end_logits  (B, T): how likely the answer begins, and ends, at each token

    The other fields are those of BaseModelOutputWithPast.
    """

    loss: np.ndarray | None = None
    start_logits: np.ndarray = None  # type: ignore[assignment]
    end_logits: np.ndarray = None  # type: ignore[assignment]
    hidden_states: tuple[np.ndarray, ...] | None = None
    attentions: tuple[np.ndarray, ...] | None = None


def collected_attentions(weights: list[np.ndarray], num_hidden_layers: int, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """The attention weights that the layers named, one array a layer.

    raises  LlamaError where a swapped attention block doesn't name its weights
    """
    if len(weights) != num_hidden_layers:
        raise LlamaError(
            "attention weights aren't there",
            where="output_attentions",
            expected='an attention block that hands them through probe("weights", …), once a layer',
            found=f"{len(weights)} in {num_hidden_layers} layers",
        )
    return tuple(each.astype(dtype, copy=False) for each in weights)
