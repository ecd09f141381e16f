"""A part of an array, as somebody types it: "[0, 3, :5]". Read, never evaluated."""

import re
from types import EllipsisType

from numpy_llama.errors import LlamaError

Index = tuple[int | slice | EllipsisType, ...]

_NUMBER = r"[+-]?\d{1,12}"
_INTEGER = re.compile(_NUMBER)
_SLICE = re.compile(rf"({_NUMBER})?\s*:\s*({_NUMBER})?\s*(?::\s*({_NUMBER})?)?")
_FORM = "integers, slices and one … between brackets: [0, 3, :5], [..., -1]"


def read_index(text: str, shape: tuple[int, ...]) -> Index:
    """The index that a text means.

    text    "[0, 3, :5]", with or without the brackets; "" for everything
    shape   of the array that it is for
    raises  LlamaError where it is no index, or doesn't fit the shape
    """
    inner = text.strip()
    if inner.startswith("[") != inner.endswith("]") and inner:
        raise LlamaError("not an index", where=text, expected=_FORM)
    inner = inner.removeprefix("[").removesuffix("]").strip()
    if not inner:
        return (...,)
    index = tuple(_part(part.strip(), text) for part in inner.removesuffix(",").split(","))
    _check(index, shape, text)
    return index


def _part(part: str, text: str) -> int | slice | EllipsisType:
    if part in ("...", "…"):
        return ...
    if _INTEGER.fullmatch(part):
        return int(part)
    found = _SLICE.fullmatch(part)
    if found is None:
        raise LlamaError("not an index", where=text, expected=_FORM, found=repr(part))
    start, stop, step = (None if number is None else int(number) for number in found.groups())
    if step == 0:
        raise LlamaError("a slice of step 0", where=text, expected=_FORM)
    return slice(start, stop, step)


def _check(index: Index, shape: tuple[int, ...], text: str) -> None:
    axes = [part for part in index if part is not ...]
    if len(index) - len(axes) > 1:
        raise LlamaError("more than one …", where=text, expected=_FORM)
    if len(axes) > len(shape):
        raise LlamaError("too many axes", where=text, expected=f"at most {len(shape)}, of {shape}", found=len(axes))
    before = index.index(...) if len(axes) < len(index) else len(axes)
    first = list(range(before))
    last = list(range(len(shape) - (len(axes) - before), len(shape)))
    for axis, part in zip(first + last, axes, strict=True):
        if isinstance(part, int) and not -shape[axis] <= part < shape[axis]:
            expected = f"{-shape[axis]} to {shape[axis] - 1}"
            raise LlamaError(f"past the end of axis {axis}", where=text, expected=expected, found=part)
