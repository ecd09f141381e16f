"""Look at one head, one token or one row of the batch only: what statistics and pictures are about."""

from dataclasses import dataclass, field

import numpy as np

from numpy_llama.model.values import value_named
from numpy_llama.precision import widen

HIDDEN = -1e4  # a score this low is the mask's doing, whatever number a port masks with
MASKED = ("scores", "causal_mask")  # values that a mask was added to


@dataclass(frozen=True)
class Sizes:
    """What of the model's sizes a value's shape doesn't say; None where nothing does.

    head_dim  D
    group     G, query heads that share a key/value head
    """

    head_dim: int | None = None
    group: int | None = None


@dataclass(frozen=True)
class Watch:
    """What is watched; None for everything.

    head   of the query heads; of keys and values, the head that it reads
    token  of the text, from 0: the cached ones count
    batch  row of the batch
    """

    head: int | None = None
    token: int | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Look:
    """What is looked at of a value.

    name      of the value
    numbers   an array with the axes of the value, those that are watched of length 1; float32 or float64. Heads that
              lie side by side are an axis of their own where one of them is watched, or only one token is there
    axes      a letter for each axis, "?" where nobody knows
    starts    where in the value each axis begins
    words     what is watched: "head 3, token 5"; "" for everything
    missing   what of the watch this value doesn't have: "token 5"
    """

    name: str
    numbers: np.ndarray
    axes: tuple[str, ...]
    starts: tuple[int, ...]
    words: str = ""
    missing: tuple[str, ...] = field(default=())

    @property
    def hidden(self) -> np.ndarray:
        """True where a mask hides the number, as in scores; same shape."""
        if self.name.rpartition(".")[2] in MASKED:
            return self.numbers <= HIDDEN
        return np.zeros(self.numbers.shape, dtype=bool)


def look_at(name: str, value: np.ndarray, watch: Watch, past: int, sizes: Sizes) -> Look:
    """What of a value is watched.

    value  (…) of any float dtype
    past   tokens in the cache before the call
    """
    axes, numbers = letters(name, value), widen(value)
    one = watch.head is not None or watch.token is not None or numbers.shape[1:2] == (1,)
    D = sizes.head_dim
    if one and D and axes[-1:] in (("H·D",), ("K·D",)) and numbers.shape[-1] % D == 0:
        numbers = numbers.reshape(*numbers.shape[:-1], numbers.shape[-1] // D, D)
        axes = (*axes[:-1], axes[-1][0], "D")
    starts = [0] * numbers.ndim
    words, missing = [], []
    for kind, wanted in (("batch", watch.batch), ("head", watch.head), ("token", watch.token)):
        if wanted is None:
            continue
        axis, index = _axis(kind, wanted, axes, past, sizes)
        if axis is None or not (0 <= index < numbers.shape[axis]):
            missing.append(f"{kind} {wanted}")
            continue
        if numbers.shape[axis] > 1 or kind != "batch":
            said = {"K": f"key/value head {index}", "B": f"row {wanted} of the batch"}
            words.append(said.get(axes[axis], f"{kind} {wanted}"))
        numbers = np.take(numbers, [index], axis=axis)
        starts[axis] = index
    return Look(name, numbers, axes, tuple(starts), ", ".join(words), tuple(missing))


def letters(name: str, value: np.ndarray) -> tuple[str, ...]:
    """A letter for each axis of a value, as the table has it: ("B", "H", "T", "S")."""
    known = value_named(name)
    if known is None or len(known.shape) != value.ndim:
        return ("?",) * value.ndim
    return tuple("B" if letter == "1|B" else letter for letter in known.shape)


def _axis(kind: str, wanted: int, axes: tuple[str, ...], past: int, sizes: Sizes) -> tuple[int | None, int]:
    """Which axis, and which place on it."""
    if kind == "batch" and "B" in axes:
        return axes.index("B"), wanted
    if kind == "token" and "T" in axes:
        return axes.index("T"), wanted - past
    if kind == "token" and axes[-2:] == ("S", "D"):  # keys and values, of cached tokens too
        return axes.index("S"), wanted
    if kind == "head" and "H" in axes:
        return axes.index("H"), wanted
    if kind == "head" and "K" in axes and sizes.group:
        return axes.index("K"), wanted // sizes.group
    return None, 0
