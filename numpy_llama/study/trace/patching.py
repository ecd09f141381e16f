"""Change values on their way: `with patch({"model.layers.2.mlp": fn}): …`."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.probe import Call, observe
from numpy_llama.study.trace.patterns import MOST_COMPARED, call_name, fits, nearest

Patch = Callable[[np.ndarray], np.ndarray | None] | np.ndarray


@contextmanager
def patch(patches: Mapping[str, Patch]) -> Iterator[None]:
    """While this lasts, the named values are replaced, and the forward pass goes on with what takes their place.

        with patch({"model.layers.2.mlp": np.zeros_like}):                     # ablation
            model(ids)
        with patch({"call.0000/model.layers.1": other["call.0000/model.layers.1"]}):   # activation patching
            model(ids)

    patches  pattern → function of the value, or the array to put there; see study/trace/patterns.py. Where several fit,
             they are applied one after the other. A function that returns None only looks
    raises   LlamaError, in the forward pass, where what is put there has another shape
    warns    LlamaWarning at the end, with the nearest names, where models were called and a pattern never fitted
    """
    unused, seen = dict.fromkeys(patches), dict[str, None]()

    def apply(name: str, value: np.ndarray, call: Call) -> np.ndarray | None:
        index, before = max(call.index, 0), value
        if unused and len(seen) < MOST_COMPARED:
            seen[f"{call_name(index)}/{name}"] = None
        for pattern, change in patches.items():
            if fits(pattern, index, name):
                unused.pop(pattern, None)
                changed = change(value) if callable(change) else change
                value = value if changed is None else _fitting(changed, value, f"{call_name(index)}/{name}")
        return None if value is before else value

    with observe(apply):
        yield
    for pattern in unused if seen else ():
        message = f"patch: no value fits {pattern!r}, so it changed nothing; nearest: {nearest(pattern, seen)}"
        warnings.warn(message, LlamaWarning, stacklevel=3)


def _fitting(changed: object, value: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(changed)
    if array.shape != value.shape:
        raise LlamaError("a patch of another shape", where=name, expected=value.shape, found=array.shape)
    if array.dtype.kind not in "fV":
        raise LlamaError(
            "a patch that isn't of numbers with a point", where=name, expected=value.dtype, found=array.dtype
        )
    return array.astype(value.dtype, copy=False)
