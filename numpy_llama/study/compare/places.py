"""Where a value differs: which rows of the batch, heads, positions, channels."""

from collections.abc import Sequence

import numpy as np

from numpy_llama.model.config import LlamaConfig

# What an index along an axis is called: one, several.
WORDS = {
    "B": ("row", "rows"),
    "1|B": ("row", "rows"),
    "T": ("position", "positions"),
    "S": ("key", "keys"),
    "H": ("head", "heads"),
    "K": ("key/value head", "key/value heads"),
    "V": ("token of the vocabulary", "tokens of the vocabulary"),
}
CHANNEL = ("channel", "channels")
FEW = 8  # numbers that are written out


def axes_of(letters: Sequence[str], shape: tuple[int, ...], config: LlamaConfig) -> tuple[list[str], tuple[int, ...]]:
    """Axes with heads apart from channels: (B, T, H·D) is (B, T, H, D).

    returns  their letters, and the shape to reshape to
    """
    if len(letters) != len(shape):
        return [f"axis {i}" for i in range(len(shape))], shape
    if letters and letters[-1] in ("H·D", "K·D") and shape[-1] % config.head_dim == 0:
        heads = shape[-1] // config.head_dim
        one = "H" if heads == config.num_attention_heads else "K"
        return [*letters[:-1], one, "D"], (*shape[:-1], heads, config.head_dim)
    return list(letters), shape


def places(bad: np.ndarray, counts: np.ndarray, axes: Sequence[str]) -> dict[str, list[int]]:
    """For each axis on which not everything is bad, the indices at which something is.

    bad, counts  same shape, an axis a letter
    returns      letter → indices; axes of one number, and those on which every index that counts is bad, are left out
    """
    found = {}
    for axis, letter in enumerate(axes):
        others = tuple(i for i in range(bad.ndim) if i != axis)
        some, there = bad.any(axis=others), counts.any(axis=others)
        if bad.shape[axis] > 1 and some.sum() < there.sum():
            found[letter] = [int(i) for i in np.flatnonzero(some)]
    return found


def in_words(found: dict[str, list[int]], axes: Sequence[str], shape: tuple[int, ...]) -> str:
    """ "head 2, positions 5–9" """
    sizes = dict(zip(axes, shape, strict=True))
    parts = []
    for letter, indices in found.items():
        word = WORDS.get(letter, CHANNEL)
        size = sizes[letter]
        if len(indices) == 1:
            parts.append(f"{word[0]} {indices[0]}")
        elif len(indices) > FEW and not _is_run(indices):
            parts.append(f"{len(indices)} of {size} {word[1]}")
        elif _is_run(indices) and indices[-1] == size - 1:
            parts.append(f"{word[1]} from {indices[0]} on")
        else:
            parts.append(f"{word[1]} {ranges(indices)}")
    return ", ".join(parts)


def ranges(indices: Sequence[int]) -> str:
    """ "1, 3–5" """
    parts: list[list[int]] = []
    for index in indices:
        if parts and index == parts[-1][-1] + 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in parts)


def _is_run(indices: Sequence[int]) -> bool:
    return len(indices) > 1 and indices[-1] - indices[0] == len(indices) - 1
