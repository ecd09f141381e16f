"""A trace: the named values of a sequence of model calls, and what each call was given.

    t["call.0000/model.layers.0.self_attn.scores"]
    t.glob("*/model.layers.3.*")

A prefill is a call, so is each decode step after it, and each of several prompts: most real bugs show in one kind of
call only. Whether it was recorded from our model, from Transformers or read from a stranger's file, it is this class.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.values import computation_order

LOGITS = "lm_head"


@dataclass
class TracedCall:
    """One call of the model.

    index           0, 1, …: its place in the trace
    past            tokens in the cache before it, or None where a file doesn't say
    input_ids       (B, T), or None where the model was given embeddings, or a file doesn't say
    attention_mask  (B, S), or None where nothing is padded; a 4-D mask as it was given
    position_ids    (B or 1, T), or None where a file doesn't say
    values          name → array, in order of computation. May be read from a file only when asked for
    """

    index: int
    past: int | None = 0
    input_ids: np.ndarray | None = None
    attention_mask: np.ndarray | None = None
    position_ids: np.ndarray | None = None
    values: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """ "call.0000" """
        return f"call.{self.index:04d}"

    @property
    def new(self) -> int | None:
        """T, the tokens that the call adds; None where nothing says so."""
        for given in (self.input_ids, self.position_ids):
            if given is not None:
                return int(given.shape[1])
        return None

    @property
    def cache_length(self) -> int | None:
        """Tokens in the cache after the call."""
        return None if self.past is None or self.new is None else self.past + self.new

    @property
    def kind(self) -> str:
        """ "prefill", "decode" or "chunk"; "call" where a file doesn't say."""
        if self.past is None or self.new is None:
            return "call"
        return "prefill" if self.past == 0 else "decode" if self.new == 1 else "chunk"

    @property
    def logits(self) -> np.ndarray | None:
        """(B, T or the last ones of it, V), where there are any."""
        return self.values.get(LOGITS)


@dataclass
class Trace(Mapping[str, np.ndarray]):
    """A sequence of calls; as a mapping, every value of every call under its full name.

    calls   in the order in which they were made
    config  of the model, as LlamaConfig.to_dict gives it; None where it isn't known
    dtype   that the model computes in: "float32", …; None where it isn't known
    source  what to call it in messages: "ours", a file's name
    """

    calls: list[TracedCall] = field(default_factory=list)
    config: dict[str, Any] | None = None
    dtype: str | None = None
    source: str = "trace"

    def __getitem__(self, name: str) -> np.ndarray:
        """A value by its full name, "call.0000/model.norm".

        raises  LlamaError (a KeyError, too) where there is none of that name
        """
        call, _, value = name.partition("/")
        for traced in self.calls:
            if traced.name == call and value in traced.values:
                return traced.values[value]
        raise NoSuchValue("no such value", where=f"{self.source}: {name}", expected=self._names_for_message())

    def __iter__(self) -> Iterator[str]:
        for call in self.calls:
            for name in sorted(call.values, key=computation_order):
                yield f"{call.name}/{name}"

    def __len__(self) -> int:
        return sum(len(call.values) for call in self.calls)

    def __contains__(self, name: object) -> bool:
        return any(name == full for full in self)

    def glob(self, pattern: str) -> dict[str, np.ndarray]:
        """Values whose full name fits a pattern, in order of computation: `*` is anything, `?` one letter."""
        return {name: self[name] for name in self if fnmatchcase(name, pattern)}

    @property
    def config_hash(self) -> str | None:
        """SHA-256 of the config; two traces of models with the same config have the same."""
        return None if self.config is None else config_hash(self.config)

    def _names_for_message(self) -> str:
        names = list(self)
        return ", ".join(names[:3]) + (f", … ({len(names)} values)" if len(names) > 3 else "") if names else "no values"


class NoSuchValue(LlamaError, KeyError):
    """A trace has no value of that name."""

    __str__ = LlamaError.__str__


def config_hash(config: Mapping[str, Any]) -> str:
    """ "sha256:…" of a config's fields, whatever their order."""
    text = json.dumps(config, sort_keys=True, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
