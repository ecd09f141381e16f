"""Change a value and see what becomes of it: `set [0, 3] = 0`, `set * 2`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.precision import widen
from numpy_llama.study.step.slices import Index, read_index
from numpy_llama.study.trace.patching import Patch

_CHANGE = re.compile(r"\s*(?P<index>\[[^\]]*\])?\s*(?P<sign>[=*/+-])\s*(?P<number>\S+)\s*")
_FORM = "an index or none, one of = * / + -, and a number: [0, 3] = 0, * 2"


@dataclass(frozen=True)
class Change:
    """One change of one value in one call.

    name    of the value, with its call: "call.0000/model.layers.0.mlp"
    index   which part of it
    sign    "=", "*", "/", "+" or "-"
    number  that is put there, or that the part is multiplied by, …
    text    as it was typed
    """

    name: str
    index: Index
    sign: str
    number: float
    text: str

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """The value after the change: (…), same shape and dtype; the arithmetic is float32's at least, rounded once."""
        changed = widen(value).copy()
        part = changed[self.index]
        with np.errstate(all="ignore"):
            results = {
                "=": lambda: np.full_like(part, self.number),
                "*": lambda: part * self.number,
                "/": lambda: np.divide(part, self.number),
                "+": lambda: part + self.number,
                "-": lambda: part - self.number,
            }
            changed[self.index] = results[self.sign]()
            return changed.astype(value.dtype)


def read_change(text: str, name: str, shape: tuple[int, ...]) -> Change:
    """The change that a text means, for a value of a shape.

    raises  LlamaError where it is none, or its index doesn't fit the shape
    """
    found = _CHANGE.fullmatch(text)
    if found is None:
        raise LlamaError("not a change", where=f"set {text}".strip(), expected=_FORM)
    try:
        number = float(found["number"])
    except ValueError:
        raise LlamaError("not a number", where=f"set {text}", expected=_FORM, found=repr(found["number"])) from None
    return Change(name, read_index(found["index"] or "", shape), found["sign"], number, " ".join(text.split()))


def as_patches(changes: Sequence[Change]) -> dict[str, Patch]:
    """The changes as `patch` takes them; several of one value are made one after the other."""
    by_name: dict[str, list[Change]] = {}
    for change in changes:
        by_name.setdefault(change.name, []).append(change)
    return {name: _one_after_the_other(several) for name, several in by_name.items()}


def _one_after_the_other(changes: Sequence[Change]) -> Patch:
    def change_all(value: np.ndarray) -> np.ndarray:
        for change in changes:
            value = change(value)
        return value

    return change_all
