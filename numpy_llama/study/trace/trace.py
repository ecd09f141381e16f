"""A trace: the named values of a sequence of model calls, and what each call was given.

    t["call.0000/model.layers.0.self_attn.scores"]
    t.glob("model.layers.3.*")
    print(t.tree())
    t.save("x.safetensors")

A prefill is a call, so is each decode step after it, and each of several prompts: most real bugs show in one kind of
call only. Whether it was recorded from our model, from Transformers or read from a stranger's file, it is this class.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.values import computation_order
from numpy_llama.study.trace.patterns import LOGITS, call_name, fits, nearest, spelled


@dataclass
class TracedCall:
    """One call of the model.

    index           its number: 0, 1, … A stranger's file may leave some out
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
        return call_name(self.index)

    @property
    def new(self) -> int | None:
        """T, the tokens that the call adds; None where nothing says so."""
        for given in (self.input_ids, self.position_ids, self.values.get("model.norm")):
            if given is not None and given.ndim > 1:
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

    def __repr__(self) -> str:
        return f"<{self.name}: {self.kind}, {self.new} tokens after {self.past}, {len(self.values)} values>"


@dataclass(frozen=True)
class Partial:
    """What is known of a value of which a file shows only a part, or shows it rounded.

    The value itself is an array of the full shape, with NaN where nothing is known.

    known       bool array of the value's shape: which elements are known
    resolution  how far a shown number may be from the true one: 0.00005 for four decimals, 0.0 for all its digits
    """

    known: np.ndarray
    resolution: float = 0.0


@dataclass(eq=False)
class Trace(Mapping[str, np.ndarray]):
    """A sequence of calls; as a mapping, every value of every call under its full name.

    calls    in the order in which they were made
    config   of the model, as LlamaConfig.to_dict gives it; None where it isn't known
    dtype    that the model computes in: "float32", …; None where it isn't known
    source   what to call it in messages: "ours", a file's name
    partial  full name → Partial, for those values of which a file shows only a part; mostly empty
    notes    what a reader should know about how a stranger's file was understood, a sentence each; mostly empty
    """

    calls: list[TracedCall] = field(default_factory=list)
    config: dict[str, Any] | None = None
    dtype: str | None = None
    source: str = "trace"
    partial: dict[str, Partial] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> np.ndarray:
        """A value by its full name, "call.0000/model.norm"; where there is one call only, "model.norm" will do.

        raises  LlamaError (a KeyError, too) where there is none of that name
        """
        call, value = self._find(name)
        if call is None:
            raise NoSuchValue("no such value", where=self.source, expected=nearest(str(name), self), found=name)
        return call.values[value]

    def __iter__(self) -> Iterator[str]:
        for call in self.calls:
            for name in sorted(call.values, key=computation_order):
                yield f"{call.name}/{name}"

    def __len__(self) -> int:
        return sum(len(call.values) for call in self.calls)

    def __contains__(self, name: object) -> bool:
        return self._find(name)[0] is not None

    def glob(self, *patterns: str) -> dict[str, np.ndarray]:
        """Values that fit a pattern, or one of several, in order of computation; see study/trace/patterns.py.

        returns  full name → array
        raises   LlamaError (a KeyError, too) naming the nearest names, where a pattern fits nothing
        """
        return {name: self[name] for name in self.names(*patterns)}

    def names(self, *patterns: str) -> list[str]:
        """The full names that fit a pattern, or one of several; none of the values is read."""
        found: dict[str, None] = {}
        for pattern in patterns or ("*",):
            fitting = self._fitting(pattern)
            if not fitting and patterns:
                raise NoSuchValue(f"no value fits {pattern!r}", where=self.source, expected=nearest(pattern, self))
            found.update(dict.fromkeys(fitting))
        return list(found) if len(patterns) < 2 else [name for name in self if name in found]

    def tree(self, pattern: str | Sequence[str] | None = None, width: int = 100) -> str:
        """A table of the values, nested by name: shape, dtype, min, max, mean, rms, NaN count. Print it.

            print(t.tree())                            every call, repeated layers folded to a line each
            print(t.tree("model.layers.2.self_attn*")) what fits, nothing folded

        pattern  or several of them
        width    columns to fill at most, 80 … 160
        raises   LlamaError naming the nearest names, where the pattern fits nothing
        """
        from numpy_llama.study.trace.tree import tree_text

        return tree_text(self, pattern, width)

    def save(self, path: str | Path) -> None:
        """Write it as a safetensors file, whole or not at all; see docs/trace-format.md."""
        from numpy_llama.study.trace.trace_file import save_trace

        save_trace(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "Trace":
        """Read a file that `save` wrote; its values are read when they are asked for.

        A file from elsewhere, under other names: read_trace.
        """
        from numpy_llama.study.trace.trace_file import load_trace

        return load_trace(path)

    def call(self, name: str) -> TracedCall | None:
        """The call of that name ("call.0003"), or None."""
        number = int(name[5:]) if name.startswith("call.") and name[5:].isdecimal() and len(name) < 20 else -1
        if 0 <= number < len(self.calls) and self.calls[number].name == name:
            return self.calls[number]
        return next((call for call in self.calls if call.name == name), None)

    @property
    def config_hash(self) -> str | None:
        """SHA-256 of the config; two traces of models with the same config have the same."""
        return None if self.config is None else config_hash(self.config)

    def _find(self, name: object) -> tuple[TracedCall | None, str]:
        if not isinstance(name, str):
            return None, ""
        first, slash, value = spelled(name).rpartition("/")
        call = self.call(first) if slash else self.calls[0] if len(self.calls) == 1 else None
        return (call, value) if call is not None and value in call.values else (None, value)

    def _fitting(self, pattern: str) -> list[str]:
        return [
            f"{call.name}/{name}"
            for call in self.calls
            for name in sorted(call.values, key=computation_order)
            if fits(pattern, call.index, name)
        ]

    def __repr__(self) -> str:
        return f"<Trace {self.source!r}: {len(self.calls)} calls, {len(self)} values, {self.dtype}>"


class NoSuchValue(LlamaError, KeyError):
    """A trace has no value of that name."""

    __str__ = LlamaError.__str__


def config_hash(config: Mapping[str, Any]) -> str:
    """ "sha256:…" of a config's fields, whatever their order."""
    text = json.dumps(config, sort_keys=True, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
