"""Change values on their way: `with patch({"model.layers.2.mlp": fn}): …`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.probe import Call, observe

Patch = Callable[[np.ndarray], np.ndarray | None] | np.ndarray


def patch(patches: Mapping[str, Patch]) -> AbstractContextManager[None]:
    """While this lasts, the named values are replaced, and the forward pass goes on with what takes their place.

        with patch({"model.layers.2.mlp": np.zeros_like}):                     # ablation
            model(ids)
        with patch({"call.0000/model.layers.1": other["call.0000/model.layers.1"]}):   # activation patching
            model(ids)

    patches  pattern → function of the value, or the array to put there. A pattern without "call.…/" is for every call.
             Where several fit, they are applied one after the other. A function that returns None only looks
    raises   LlamaError, in the forward pass, where what is put there has another shape
    """

    def apply(name: str, value: np.ndarray, call: Call) -> np.ndarray | None:
        full, before = f"call.{max(call.index, 0):04d}/{name}", value
        for pattern, change in patches.items():
            if fnmatchcase(full if "/" in pattern else name, pattern):
                changed = change(value) if callable(change) else change
                value = value if changed is None else _fitting(changed, value, full)
        return None if value is before else value

    return observe(apply)


def _fitting(changed: object, value: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(changed)
    if array.shape != value.shape:
        raise LlamaError("a patch of another shape", where=name, expected=value.shape, found=array.shape)
    if array.dtype.kind not in "fV":
        raise LlamaError(
            "a patch that isn't of numbers with a point", where=name, expected=value.dtype, found=array.dtype
        )
    return array.astype(value.dtype, copy=False)
