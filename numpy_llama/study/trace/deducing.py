"""Sizes that a trace's file doesn't say, worked out from the shapes of what is in it."""

from collections.abc import Iterable, Mapping
from typing import Any

from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.values import value_named
from numpy_llama.precision import DTYPES
from numpy_llama.study.trace.layouts import has_heads
from numpy_llama.study.trace.patterns import LOGITS
from numpy_llama.study.trace.trace import Trace


def head_dim_of(config: LlamaConfig | None, said: dict[str, Any] | None) -> int | None:
    """D, by the config that was given or the one that the file brings."""
    if config is not None:
        return config.head_dim
    said = said or {}
    given, width, heads = (said.get(name) for name in ("head_dim", "hidden_size", "num_attention_heads"))
    if isinstance(given, int) and given > 0:
        return given
    if isinstance(width, int) and isinstance(heads, int) and heads > 0 and width % heads == 0:
        return width // heads
    return None


def tokens_of(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """T, by the shape of some value that has it."""
    for name, shape in shapes.items():
        value = value_named(name)
        if value is not None and "T" in value.shape and name != LOGITS and len(value.shape) - len(shape) in (0, 1):
            return int(shape[value.shape.index("T") - len(value.shape)])
    return None


def llama_cpp_tokens_of(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> int | None:
    """T, by the rows of what every token of llama.cpp's graph goes through."""
    for theirs, shape in shapes:
        if theirs in ("inp_embd", "embd", "attn_norm-0"):
            return shape[-2] if len(shape) > 1 else 1
    return None


def llama_cpp_head_dim_of(shapes: Iterable[tuple[str, tuple[int, ...]]], new: int | None) -> int | None:
    """D, by the last axis of what has an axis for the heads."""
    for theirs, shape in shapes:
        stem = theirs.rpartition("-")[0]
        if stem == "kqv" or (stem in ("Qcur", "Kcur") and has_heads(shape, new)):
            return shape[-1] if shape else None
    return None


def dtype_of(trace: Trace) -> str | None:
    """The dtype of a trace's first value, where it is one to compute in."""
    for name in trace:
        if value_named(name.rpartition("/")[2]) is not None:
            found = trace[name].dtype.name
            return found if found in DTYPES else None
    return None
