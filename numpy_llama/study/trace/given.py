"""What each call was given, as a file of a trace says it: token ids, mask, positions, and how much came before.

A writer in C may not know int64 from float32, or leave the batch axis away; so any numbers that are whole will do, and
(T,) is one row. How many tokens came before a call a file should say (in its metadata, or as a tensor `past` of one
number). Where it doesn't, the width of mask, keys or scores tells; and where nothing does, it is guessed and noted.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from numpy_llama.errors import LlamaError

GIVEN = ("input_ids", "attention_mask", "position_ids")
PAST = "past"
LONGEST = 2**40

# Values whose last or last but one axis is S, the cached and the new tokens.
_WIDTH_AT = {"self_attn.keys": -2, "self_attn.values": -2, "self_attn.scores": -1, "self_attn.weights": -1}


class Given(NamedTuple):
    """What one call was given; None for what a file doesn't say."""

    input_ids: np.ndarray | None = None
    attention_mask: np.ndarray | None = None
    position_ids: np.ndarray | None = None
    past: int | None = None


def checked_given(arrays: Mapping[str, np.ndarray], where: str) -> Given:
    """What was given, of the shapes and dtypes that TracedCall has.

    arrays  of the names GIVEN and "past", as the file has them; others may be missing
    where   the file and the call, for messages
    raises  LlamaError naming what can't be
    """
    ids = _rows(arrays, "input_ids", where)
    positions = _rows(arrays, "position_ids", where)
    if ids is not None and ids.min() < 0:
        raise LlamaError("negative token id", where=f"{where}/input_ids", found=int(ids.min()))
    if ids is not None and positions is not None:
        allowed = (ids.shape, (1, ids.shape[1]))
        if positions.shape not in allowed:
            expected = " or ".join(str(shape) for shape in dict.fromkeys(allowed))
            raise LlamaError("wrong shape", where=f"{where}/position_ids", expected=expected, found=positions.shape)
    return Given(ids, _mask(arrays, ids, where), positions, _past(arrays, where))


def _rows(arrays: Mapping[str, np.ndarray], name: str, where: str) -> np.ndarray | None:
    array = arrays.get(name)
    if array is None:
        return None
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.size == 0:
        raise LlamaError("wrong shape", where=f"{where}/{name}", expected="(B, T), or (T,)", found=array.shape)
    return whole_numbers(array, f"{where}/{name}")


def _mask(arrays: Mapping[str, np.ndarray], ids: np.ndarray | None, where: str) -> np.ndarray | None:
    mask, where = arrays.get("attention_mask"), f"{where}/attention_mask"
    if mask is None or mask.ndim == 4:
        return None if mask is None else np.array(mask)
    mask = mask[None] if mask.ndim == 1 else mask
    rows, new = ids.shape if ids is not None else (len(mask) if mask.ndim else 1, 0)
    if mask.ndim != 2 or mask.size == 0 or mask.shape[0] != rows or mask.shape[1] < new:
        expected = f"({rows}, S), S at least {new}; or 4-D"
        raise LlamaError("wrong shape", where=where, expected=expected, found=mask.shape)
    mask = whole_numbers(mask, where)
    if ((mask != 0) & (mask != 1)).any():
        found = int(mask[(mask != 0) & (mask != 1)][0])
        raise LlamaError("wrong value", where=where, expected="1 for a token, 0 for padding", found=found)
    return mask


def _past(arrays: Mapping[str, np.ndarray], where: str) -> int | None:
    past = arrays.get(PAST)
    if past is None:
        return None
    if past.size != 1 or not 0 <= (number := int(whole_numbers(past, f"{where}/past").reshape(()))) < LONGEST:
        raise LlamaError("wrong value", where=f"{where}/past", expected="one number, 0 or more", found=str(past)[:80])
    return number


def whole_numbers(array: np.ndarray, where: str) -> np.ndarray:
    """An array as int64.

    raises  LlamaError where its numbers aren't whole, or larger than any number of tokens
    """
    if array.dtype.kind in "biu":
        wide = array.astype(object) if array.dtype == np.uint64 else array
        if array.size and int(wide.max()) > LONGEST:
            raise LlamaError("too large", where=where, expected=f"at most {LONGEST}", found=int(wide.max()))
        return array.astype(np.int64)
    numbers = array.astype(np.float64) if array.dtype.kind in "fV" else np.array([np.nan])
    if not np.isfinite(numbers).all() or (np.abs(numbers) > LONGEST).any() or (numbers != np.rint(numbers)).any():
        raise LlamaError("not whole numbers", where=where, expected="integers", found=array.dtype)
    return numbers.astype(np.int64)


def width_of(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """S, where keys, values, scores or weights of some layer tell.

    shapes  of the values of a call, by name
    """
    for name, shape in shapes.items():
        for ending, axis in _WIDTH_AT.items():
            if name.endswith(ending) and len(shape) in (3, 4):
                return int(shape[axis])
    return None


def past_of(given: Given, shapes: Mapping[str, tuple[int, ...]], new: int | None, before: int) -> tuple[int, bool]:
    """How many tokens came before a call, and whether that is a guess.

    given   what the file says of the call
    shapes  of its values
    new     T, or None where that isn't known either
    before  tokens of the calls before that the text may go on from; 0 for a first call
    """
    if given.past is not None:
        return given.past, False
    mask = given.attention_mask
    width = mask.shape[-1] if mask is not None else width_of(shapes)
    if width is not None and new is not None and width >= new:
        return int(width - new), False
    if before == 0:
        return 0, False
    first = None if given.position_ids is None else int(given.position_ids[:, 0].max())
    if first in (0, before):
        return first, False
    return (before if new == 1 else 0), True
