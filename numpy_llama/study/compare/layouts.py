"""The same numbers in another order: a value of somebody else's, brought into our shape.

Ports keep heads before or after positions, drop the axis of the batch, repeat keys for every query head, pad the
vocabulary, keep the logits of the last token alone. None of that is a mistake, so it is undone before anything is
compared, and said. Where a shape can be read in several ways (as many tokens as heads), each reading is given, the
plain one first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.values import value_named
from numpy_llama.study.compare.error_bars import ErrorBar

LAST = "only of the last position"
SHOWN = "numbers shown"  # in the note of a value of which only some are


@dataclass(frozen=True)
class Reading:
    """One way to read a value of theirs.

    theirs  in the shape of expected.truth
    expected  ours and its bar; of the last position alone, or repeated for every head, where theirs is
    counts  which numbers are compared, cut in the same way
    note    what was done, "" for nothing
    mask_added  of scores, whether those that ours hides must be hidden in theirs, too (see hidden.py)
    """

    theirs: np.ndarray
    expected: ErrorBar
    counts: np.ndarray
    note: str = ""
    mask_added: bool = False


def readings(
    theirs: np.ndarray, expected: ErrorBar, counts: np.ndarray, name: str, config: LlamaConfig
) -> Iterator[Reading]:
    """Every way in which an array can be a value of ours; none where its shape fits in no way.

    theirs    any shape, float64
    counts    (…) which numbers of ours count, of the same shape as ours
    """
    value = value_named(name)
    letters = value.shape if value is not None else ()
    for ours, cut, notes in _ours(theirs, expected, counts, letters, config):
        for array, note in _arrangements(theirs, ours.truth.shape, letters, config):
            yield Reading(array, ours, cut, "; ".join(filter(None, (*notes, note))))


def _ours(
    theirs: np.ndarray, expected: ErrorBar, counts: np.ndarray, letters: tuple[str, ...], config: LlamaConfig
) -> Iterator[tuple[ErrorBar, np.ndarray, tuple[str, ...]]]:
    """Ours as it is; with key/value heads repeated; of the last position alone."""
    counts = np.broadcast_to(counts, expected.truth.shape)
    yield expected, counts, ()
    if len(letters) != expected.truth.ndim:
        return
    H, K = config.num_attention_heads, config.num_key_value_heads
    if "K" in letters and H != K and theirs.size == expected.truth.size // K * H:
        axis = letters.index("K")
        parts = [np.repeat(part, H // K, axis) for part in (expected.truth, expected.bar, counts)]
        yield ErrorBar(*parts[:2]), parts[2], (f"each key/value head is there {H // K} times",)
    if "T" in letters and expected.truth.shape[letters.index("T")] > 1:
        axis = letters.index("T")
        parts = [part[(slice(None),) * axis + (slice(-1, None),)] for part in (expected.truth, expected.bar, counts)]
        if theirs.size == parts[0].size:
            yield ErrorBar(*parts[:2]), parts[2], (LAST,)


def _arrangements(
    theirs: np.ndarray, shape: tuple[int, ...], letters: tuple[str, ...], config: LlamaConfig
) -> Iterator[tuple[np.ndarray, str]]:
    """Theirs in a given shape, in every way that keeps the axes apart."""
    B = shape[0] if shape else 1
    if theirs.shape == shape:
        yield theirs, ""
    plain = tuple(size for size in theirs.shape if size != 1)
    wanted = tuple(size for size in shape if size != 1)
    if plain == wanted and theirs.shape != shape:
        yield theirs.reshape(shape), _axes_note(theirs.ndim, len(shape))
    if "V" in letters and len(plain) == len(wanted) and plain[:-1] == wanted[:-1] and plain[-1:] > wanted[-1:]:
        yield theirs.reshape(-1, theirs.shape[-1])[:, : shape[-1]].reshape(shape), "the vocabulary is padded"
    if "S" in letters and theirs.ndim == len(shape):
        axis = letters.index("S")
        same = theirs.shape[:axis] + theirs.shape[axis + 1 :] == shape[:axis] + shape[axis + 1 :]
        if same and theirs.shape[axis] > shape[axis]:
            cut = theirs[(slice(None),) * axis + (slice(shape[axis]),)]
            yield cut, "the cache has room left, which isn't compared"
    if len(shape) == 3 and theirs.ndim == 2 and B > 1 and theirs.shape == (B * shape[1], shape[2]):
        yield theirs.reshape(shape), "the rows of the batch one below the other"
    is_table = letters[-1:] == ("D",) and letters[:1] == ("1|B",)  # RoPE's
    if is_table and plain[:-1] == wanted[:-1] and plain[-1:] == (shape[-1] // 2,):
        half = theirs.reshape(*shape[:-1], shape[-1] // 2)
        yield np.concatenate((half, half), -1), "one angle a pair"
    yield from _heads(theirs, shape, letters, config)
    if len(plain) > 1 and plain != wanted and plain[::-1] == wanted:
        yield theirs.reshape(plain).T.reshape(shape), "all axes in the opposite order"


def _heads(
    theirs: np.ndarray, shape: tuple[int, ...], letters: tuple[str, ...], config: LlamaConfig
) -> Iterator[tuple[np.ndarray, str]]:
    """Heads before positions or after them, apart or side by side."""
    D = config.head_dim
    if len(shape) == 4 and letters[1:2] in (("H",), ("K",)):
        heads = "H" if letters[1] == "H" else "K"
        B, N, T, X = shape
        if letters[3] == "D" and theirs.size == B * N * T * X and theirs.shape[-1] == N * X:
            yield theirs.reshape(B, T, N, X).swapaxes(1, 2), "heads side by side"
        full = theirs.reshape(1, *theirs.shape) if theirs.ndim == 3 and B == 1 else theirs
        if full.ndim != 4:
            return
        for order in permutations(range(4)):
            if order != (0, 1, 2, 3) and full.transpose(order).shape == shape:
                axes = dict(zip(order, ("B", heads, letters[2], letters[3]), strict=True))
                yield full.transpose(order), f"axes ({', '.join(axes[i] for i in range(4))})"
    elif len(shape) == 3 and letters[2:] in (("H·D",), ("K·D",)):
        B, T, width = shape
        N = width // D
        full = theirs.reshape(1, *theirs.shape) if theirs.ndim == 3 and B == 1 and theirs.shape[2] == D else theirs
        if full.shape == (B, T, N, D):
            yield full.reshape(shape), "heads in an axis of their own"
        if full.shape == (B, N, T, D):
            yield full.swapaxes(1, 2).reshape(shape), "heads in an axis of their own, before the positions"


def _axes_note(theirs: int, ours: int) -> str:
    if theirs == ours:
        return "has its axes of size 1 in other places"
    return "without the axis of the batch" if theirs < ours else "with more axes of size 1"
