"""Several encoded texts as one rectangle: cut what is too long, fill up what is too short, and mask what was
filled.

    [[1, 7251], [1, 22172, 727]]    →    input_ids       [[2, 1, 7251], [1, 22172, 727]]
                                         attention_mask  [[0, 1,    1], [1,     1,   1]]

Llama pads on the left: generation goes on at the right end of every row.
"""

from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError

UNLIMITED = 10**20  # a model_max_length from here on means that there is none


class BatchEncoding(dict[str, Any]):
    """What a tokenizer call returns: a dict whose keys are attributes, too (input_ids, attention_mask, …)."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{name!r} is not in this encoding; it has {', '.join(self)}") from None


def lengths(
    padding: bool | str, truncation: bool | str | None, max_length: int | None, model_max_length: int
) -> tuple[int | None, int | None]:
    """What a call's three settings mean, by transformers' rules.

    returns  (length to cut to or None, length to fill to or None; 0 stands for the longest row's)
    raises   LlamaError where a setting has a value that there isn't
    """
    if padding not in (True, False, "longest", "max_length", "do_not_pad"):
        expected = "True, False, 'longest' or 'max_length'"
        raise LlamaError("no such padding", where="padding", expected=expected, found=repr(padding))
    if truncation not in (True, False, None, "longest_first", "only_first", "do_not_truncate"):
        raise LlamaError("no such truncation", where="truncation", expected="True or False", found=repr(truncation))
    if max_length is not None and (not isinstance(max_length, int) or max_length < 1):
        raise LlamaError("no such length", where="max_length", expected="1 or more", found=repr(max_length))
    if truncation is None:
        truncation = max_length is not None and padding is False
    limit = max_length
    if limit is None and model_max_length < UNLIMITED:
        limit = model_max_length
    cut = limit if truncation not in (False, "do_not_truncate") else None
    if padding in (False, "do_not_pad") or (padding == "max_length" and limit is None):
        return cut, None
    return cut, limit if padding == "max_length" else 0


def checked_side(name: str, side: str) -> str:
    """The side, where it is one.

    raises  LlamaError
    """
    if side not in ("left", "right"):
        raise LlamaError("no such side", where=name, expected="left or right", found=repr(side))
    return side


def truncate(ids: list[int], length: int, side: str) -> list[int]:
    """The first (side "right": the end is cut) or last (side "left") `length` ids.

    raises  LlamaError where length is negative: the special tokens alone are longer than max_length
    """
    if length < 0:
        raise LlamaError(
            "no room for the special tokens",
            where="max_length",
            expected="room for the tokens that are added",
            found=f"{-length} too few",
        )
    return ids[:length] if side == "right" else ids[max(len(ids) - length, 0) :]


def pad_rows(rows: list[dict[str, list[int]]], fill: dict[str, int], length: int, side: str) -> None:
    """Bring every list of every row to at least `length` entries, in place; `fill` says with what, by key."""
    for row in rows:
        for key, values in row.items():
            filling = [fill[key]] * (length - len(values))
            row[key] = filling + values if side == "left" else values + filling


def collect(rows: list[dict[str, list[int]]], return_tensors: str | None) -> BatchEncoding:
    """Rows to one dict of lists, or of int64 arrays (B, T).

    raises  LlamaError where rows of different lengths should become an array
    """
    batch = BatchEncoding({key: [row[key] for row in rows] for key in rows[0]})
    if return_tensors is None:
        return batch
    lengths = [len(row["input_ids"]) for row in rows]
    if len(set(lengths)) > 1:
        raise LlamaError(
            "texts of different lengths make no array",
            where="return_tensors='np'",
            expected="padding=True, or texts of one length",
            found=f"{min(lengths)} to {max(lengths)} tokens",
        )
    return BatchEncoding({key: np.array(lists, dtype=np.int64) for key, lists in batch.items()})
