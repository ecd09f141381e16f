"""Several encoded texts as one rectangle: cut what is too long, fill up what is too short, and mask what was
filled.

    [[1, 7251], [1, 22172, 727]]    →    input_ids       [[2, 1, 7251], [1, 22172, 727]]
                                         attention_mask  [[0, 1,    1], [1,     1,   1]]

Llama pads on the left: generation goes on at the right end of every row.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError

UNLIMITED = 10**20  # a model_max_length from here on means that there is none
STRATEGIES = ("longest_first", "only_first", "only_second")
FILL = {"attention_mask": 0, "token_type_ids": 0, "special_tokens_mask": 1}  # with what a short row is filled


class BatchEncoding(dict[str, Any]):
    """What a tokenizer call returns: a dict whose keys are attributes, too (input_ids, attention_mask, …)."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{name!r} is not in this encoding; it has {', '.join(self)}") from None


def lengths(
    padding: bool | str,
    truncation: bool | str | None,
    max_length: int | None,
    model_max_length: int,
    pad_to_multiple_of: int | None = None,
) -> tuple[int | None, int | None]:
    """What a call's settings mean, by transformers' rules.

    returns  (length to cut to or None, length to fill to or None; 0 stands for the longest row's)
    raises   LlamaError where a setting has a value that there isn't
    """
    if padding not in (True, False, "longest", "max_length", "do_not_pad"):
        expected = "True, False, 'longest' or 'max_length'"
        raise LlamaError("no such padding", where="padding", expected=expected, found=repr(padding))
    if truncation not in (True, False, None, *STRATEGIES, "do_not_truncate"):
        expected = "True, False, " + ", ".join(map(repr, STRATEGIES))
        raise LlamaError("no such truncation", where="truncation", expected=expected, found=repr(truncation))
    for name, value in (("max_length", max_length), ("pad_to_multiple_of", pad_to_multiple_of)):
        if value is not None and (type(value) is not int or value < 1):
            raise LlamaError("no such length", where=name, expected="1 or more", found=repr(value))
    if truncation is None:
        truncation = max_length is not None and padding is False
    limit = max_length
    if limit is None and model_max_length < UNLIMITED:
        limit = model_max_length
    cut = limit if truncation not in (False, "do_not_truncate") else None
    if padding in (False, "do_not_pad") or (padding == "max_length" and limit is None):
        return cut, None
    if cut is not None and pad_to_multiple_of is not None and cut % pad_to_multiple_of:
        expected = f"a multiple of pad_to_multiple_of, {pad_to_multiple_of}"
        raise LlamaError("cut here, rows would be filled up again", where="max_length", expected=expected, found=cut)
    return cut, limit if padding == "max_length" else 0


def checked_side(name: str, side: str) -> str:
    """The side, where it is one.

    raises  LlamaError
    """
    if side not in ("left", "right"):
        raise LlamaError("no such side", where=name, expected="left or right", found=repr(side))
    return side


def checked_tensors(name: str | None) -> None:
    """raises  LlamaError where there are no such tensors here"""
    if name not in (None, "np"):
        raise LlamaError("no such tensors", where="return_tensors", expected="'np' or None", found=name)


def truncate(ids: list[int], length: int, side: str, strategy: bool | str | None = True) -> list[int]:
    """The first (side "right": the end is cut) or last (side "left") `length` ids.

    raises  LlamaError where length is negative: the special tokens alone are longer than max_length; where the
            strategy is to cut a second text, and there is none
    """
    _check_room(length)
    if strategy == "only_second" and len(ids) > length > 0:
        raise LlamaError("no second text to cut", where="truncation", expected="a pair of texts", found="one text")
    return ids[:length] if side == "right" else ids[max(len(ids) - length, 0) :]


def truncate_pair(
    ids: list[int], more_ids: list[int], length: int, side: str, strategy: bool | str | None = True
) -> tuple[list[int], list[int]]:
    """Two texts' ids, together at most `length` of them.

    "only_first", "only_second": what is too much comes off this one, which has to have more than that. Otherwise
    (True, "longest_first") off the longer one until both are equally long, then off both. Where nothing may stay, both
    are cut to nothing, as transformers does.

    raises  LlamaError where that can't be
    """
    _check_room(length)
    too_many = len(ids) + len(more_ids) - length
    if too_many <= 0:
        return ids, more_ids
    if length == 0:
        return [], []
    if strategy in ("only_first", "only_second"):
        cut = ids if strategy == "only_first" else more_ids
        if len(cut) <= too_many:
            raise LlamaError(
                "too short for all that has to go",
                where=f"truncation={strategy!r}",
                expected=f"more than {too_many} tokens in this text",
                found=len(cut),
            )
        shorter = truncate(cut, len(cut) - too_many, side)
        return (shorter, more_ids) if strategy == "only_first" else (ids, shorter)
    short, long = sorted((len(ids), len(more_ids)))
    long = max(short, length - short)
    if short + long > length:
        short = length // 2
        long = length - short
    first, second = (short, long) if len(ids) <= len(more_ids) else (long, short)
    return truncate(ids, first, side), truncate(more_ids, second, side)


def _check_room(length: int) -> None:
    if length < 0:
        raise LlamaError(
            "no room for the special tokens",
            where="max_length",
            expected="room for the tokens that are added",
            found=f"{-length} too few",
        )


def padded_length(length: int, multiple: int | None) -> int:
    """A length, or the next multiple above it."""
    return length if multiple is None else -(-length // multiple) * multiple


def pad_rows(rows: list[dict[str, list[int]]], fill: Mapping[str, int], length: int, side: str) -> None:
    """Bring every list of every row to at least `length` entries, in place; `fill` says with what, by key.

    What `fill` doesn't name is left alone.
    """
    for row in rows:
        for key, values in row.items():
            if key in fill:
                filling = [fill[key]] * (length - len(values))
                row[key] = filling + values if side == "left" else values + filling


def pad_encoded(
    encoded: Any,
    pad_id: int,
    fill_to: int | None,
    multiple: int | None,
    side: str,
    with_mask: bool,
    return_tensors: str | None,
) -> BatchEncoding:
    """Fill up rows that are encoded already.

    encoded  {"input_ids": ids or rows of ids, …}, or a list of such with one row each; lists or arrays
    fill_to  as lengths() gives it
    returns  rows where rows were given, flat lists for one row; arrays where arrays were given
    raises   LlamaError where there are no input_ids, or rows don't go together
    """
    if isinstance(encoded, list | tuple) and encoded and all(isinstance(one, Mapping) for one in encoded):
        if any(set(one) != set(encoded[0]) for one in encoded):
            raise LlamaError("rows with different keys", where="encoded_inputs", expected=", ".join(encoded[0]))
        encoded = {key: [one[key] for one in encoded] for key in encoded[0]}
    if not isinstance(encoded, Mapping) or "input_ids" not in encoded:
        raise LlamaError("nothing to pad", where="encoded_inputs", expected="a dict with input_ids, or a list of them")
    columns = {key: _as_lists(values, key) for key, values in encoded.items()}
    if any(isinstance(row, np.ndarray) for row in (encoded["input_ids"], *encoded["input_ids"])):
        return_tensors = return_tensors or "np"
    ids = columns["input_ids"]
    single = not ids or not isinstance(ids[0], list)
    if single:
        columns = {key: [values] for key, values in columns.items()}
    count = len(columns["input_ids"])
    for key, values in columns.items():
        if len(values) != count:
            raise LlamaError("another number of rows", where=key, expected=count, found=len(values))
    rows: list[dict[str, Any]] = [{key: columns[key][i] for key in columns} for i in range(count)]
    for row in rows:
        if not isinstance(row["input_ids"], list):
            raise LlamaError(
                "a row and no row", where="input_ids", expected="a list", found=repr(row["input_ids"])[:80]
            )
        for key in FILL:
            if key in row and (not isinstance(row[key], list) or len(row[key]) != len(row["input_ids"])):
                raise LlamaError("another length than input_ids", where=key, expected=len(row["input_ids"]))
        if with_mask and "attention_mask" not in row:
            row["attention_mask"] = [1] * len(row["input_ids"])
    if fill_to is not None:
        length = padded_length(fill_to or max(len(row["input_ids"]) for row in rows), multiple)
        pad_rows(rows, {"input_ids": pad_id, **FILL}, length, side)
    if single and return_tensors is None:
        return BatchEncoding(rows[0])
    return collect(rows, return_tensors)


def _as_lists(values: Any, key: str) -> list[Any]:
    """Arrays, and lists of arrays, as lists."""
    if isinstance(values, np.ndarray):
        return list(values.tolist()) if values.ndim else [values.item()]
    if not isinstance(values, list | tuple):
        raise LlamaError("no list", where=key, expected="ids, or rows of ids", found=type(values).__name__)
    return [list(one.tolist()) if isinstance(one, np.ndarray) and one.ndim else one for one in values]


def collect(
    rows: list[dict[str, list[int]]], return_tensors: str | None, more: Mapping[str, list[int]] | None = None
) -> BatchEncoding:
    """Rows to one dict of lists, or of int64 arrays (B, T); more: what has one number a row, (B,).

    raises  LlamaError where rows of different lengths should become an array
    """
    batch = BatchEncoding({key: [row[key] for row in rows] for key in rows[0]})
    if return_tensors is None:
        return BatchEncoding({**batch, **(more or {})})
    lengths = [len(row["input_ids"]) for row in rows]
    if len(set(lengths)) > 1:
        raise LlamaError(
            "texts of different lengths make no array",
            where="return_tensors='np'",
            expected="padding=True, or texts of one length",
            found=f"{min(lengths)} to {max(lengths)} tokens",
        )
    return BatchEncoding({key: np.array(lists, dtype=np.int64) for key, lists in {**batch, **(more or {})}.items()})
