"""How others lay out the numbers of a value, and how they are brought into our order: functions, by name.

ggml counts axes from the fastest: ne = {E, T, 1, 1} is our (T, E). Whoever writes such a tensor to a file writes its
shape the other way round, slowest first, and here ne[3] and ne[2] are leading axes of length 1, or left out. There is
one row of a batch.

    plain          (T, X)      → (1, T, X), or (H, T, X) → (1, H, T, X)
    pairs          (T, H·D)    → (1, T, H·D), the channels of each head sorted: from RoPE's pairs as neighbours,
                                 (0, 1), (2, 3), …, to ours as halves, (0, D/2), (1, D/2 + 1), …
    pairs by head  (T, H, D)   → (1, H, T, D), sorted, too
    side by side   (T, K, D)   → (1, T, K·D)
    joined heads   (T, H·D)    → (1, H, T, D)
    over cache     (H, T, N)   → (1, H, T, S): the cache has N ≥ S places
    products       the same, divided by √D; known where the causal mask lets look

Where only the last tokens were computed on (the last layer of llama.cpp), the others are unknown: NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LAYOUTS = ("plain", "pairs", "pairs by head", "side by side", "joined heads", "over cache", "products")


@dataclass(frozen=True)
class Sizes:
    """What must be known to sort numbers; None for what isn't.

    head_dim  D
    new       T of the call
    total     S of the call
    """

    head_dim: int | None
    new: int | None
    total: int | None


@dataclass(frozen=True)
class Laid:
    """How one array becomes ours.

    convert  the array as it is stored, and what to put where nothing is known → ours
    factor   that its numbers are multiplied by
    causal   whether only what the causal mask shows is known
    new      T, where an array of one token is of the last of so many; None where it isn't
    """

    convert: Callable[[np.ndarray, object], np.ndarray]
    factor: float = 1.0
    causal: bool = False
    new: int | None = None

    def tokens_missing(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of that shape holds the last token only."""
        return self.new not in (None, 1) and (len(shape) < 2 or shape[-2] == 1)


def has_heads(shape: tuple[int, ...], new: int | None) -> bool:
    """Whether an array of T tokens has an axis for the heads, (…, T, H, D), and isn't (…, T, X)."""
    return len(shape) >= 3 and shape[-3] == new and (new > 1 or shape[-2] > 1)


def laid(layout: str, axes: int, shape: tuple[int, ...], sizes: Sizes) -> Laid | str:
    """How an array of a layout becomes ours; or, where it can't, why not.

    axes   that ours has
    shape  of theirs
    """
    D, new, total = sizes.head_dim, sizes.new, sizes.total
    if layout == "plain":
        return Laid(lambda array, fill: _all_tokens(_with_axes(array, axes), new, fill), new=new)
    if layout == "side by side":
        by_head = has_heads(shape, new)
        return Laid(lambda array, fill: _with_axes(array.reshape(*array.shape[:-2], -1) if by_head else array, axes))
    if layout in ("over cache", "products") and (total is None or not shape or shape[-1] < total):
        return f"{total} tokens in the cache, and an axis of {shape[-1:]}"
    if layout == "over cache":
        return Laid(lambda array, fill: _with_axes(array, 4)[..., :total])
    if D is None:
        return "the size of a head isn't known"
    if layout == "products":
        return Laid(lambda array, fill: _with_axes(array, 4)[..., :total], D**-0.5, causal=True)
    if D % 2 or not shape or shape[-1] % D:
        return f"heads of {D} channels in an axis of {shape[-1:]}"
    if layout == "pairs":
        by_head = has_heads(shape, new)
        return Laid(lambda array, fill: _sorted_pairs(
            _with_axes(array.reshape(*array.shape[:-2], -1) if by_head else array, 3), D))  # fmt: skip
    if layout == "pairs by head":
        return Laid(lambda array, fill: _sorted_pairs(_with_axes(array, 4).swapaxes(1, 2), D))
    assert layout == "joined heads", layout

    def joined(array: np.ndarray, fill: object) -> np.ndarray:
        rows = _with_axes(array, 3)
        return rows.reshape(*rows.shape[:2], -1, D).swapaxes(1, 2)

    return Laid(joined)


def _with_axes(array: np.ndarray, axes: int) -> np.ndarray:
    """Leading axes of length 1 left out or put in, until there are so many."""
    while array.ndim > axes and array.shape[0] == 1:
        array = array[0]
    while array.ndim < axes:
        array = array[None]
    return array


def _sorted_pairs(array: np.ndarray, D: int) -> np.ndarray:
    """(…, n·D), each head's channels from neighbours to halves."""
    pairs = array.reshape(*array.shape[:-1], -1, D // 2, 2)
    return pairs.swapaxes(-1, -2).reshape(array.shape)


def _all_tokens(array: np.ndarray, new: int | None, fill: object) -> np.ndarray:
    """(…, 1, X) of the last token → (…, T, X), `fill` for the others; others as they are."""
    if new is None or array.shape[-2] != 1 or new == 1:
        return array
    array = array.astype(np.float64) if array.dtype.kind in "iu" else array
    whole = np.full((*array.shape[:-2], new, array.shape[-1]), fill, array.dtype)
    whole[..., -1:, :] = array
    return whole
