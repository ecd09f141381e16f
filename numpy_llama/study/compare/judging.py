"""The rule: when a value of somebody else's agrees with ours.

Each number is so many error bars away from ours. A value agrees where those distances are small both in the mean of
squares and at the worst number: the first finds an error that is everywhere and everywhere small, the second one head,
one position, one number.

Honest runs, measured (our own, Transformers' eager and fused attention, sums in other orders; float32, float16,
bfloat16; 24,000 values, see test_compare_live.py) are at most 1.9 bars away in the mean of squares, 14 at the worst;
most mistakes are thousands of bars away in float32 and tens in bfloat16.
"""

from dataclasses import dataclass

import numpy as np

from numpy_llama.model.values import value_named
from numpy_llama.precision import lowest
from numpy_llama.study.compare.error_bars import ErrorBar
from numpy_llama.study.subject import Asked

TYPICAL = 3.0  # error bars in the mean of squares, at most
WORST = 25.0  # error bars at the worst number, at most
MASK = "model.causal_mask"
HIDES = 1e3  # added to a score, it hides it: e^−1000 is 0 in every dtype


@dataclass(frozen=True)
class Seen:
    """What of a call counts: padding is computed, too, and nobody reads what comes out.

    tokens   (B, T), True for a real token
    keys     (B, S), True for a real token, cached or new
    visible  (B or 1, H or 1, T, S), True where a token may look
    """

    tokens: np.ndarray
    keys: np.ndarray
    visible: np.ndarray

    def counts(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Which numbers of a value are compared; broadcasts to its shape. All of them where the value is of another
        number of tokens than the call: a mistake may drop one, or lose the cache.
        """
        value = value_named(name)
        axes = () if value is None else value.shape
        sizes = dict(zip(axes, shape, strict=False))
        B, T, S = len(self.tokens), self.tokens.shape[1], self.keys.shape[1]
        same = sizes.get("B", B) == B and sizes.get("T", T) == T and sizes.get("S", S) == S
        if len(axes) != len(shape) or not same:
            return np.ones((1,) * len(shape), bool)
        if name.endswith(".scores"):
            return self.visible & self.tokens[:, None, :, None]
        for letter, real in (("T", self.tokens), ("S", self.keys)):
            if letter in axes:
                real = real if shape[0] == real.shape[0] else np.asarray(real.any(axis=0, keepdims=True))
                new = [1] * len(shape)
                new[0], new[axes.index(letter)] = real.shape
                return real.reshape(new)
        return np.ones((1,) * len(shape), bool)


def seen(asked: Asked, mask: np.ndarray | None) -> Seen:
    """What of a call counts.

    mask  the value model.causal_mask of our run; None where every key may be seen
    """
    B, T = asked.input_ids.shape
    S = asked.past + T
    keys = np.ones((B, S), bool)
    if asked.attention_mask is not None and asked.attention_mask.ndim == 2:
        keys = asked.attention_mask.astype(bool)
    visible: np.ndarray = np.ones((1, 1, T, S), bool)
    if mask is not None:
        visible = np.asarray(mask > float(lowest(np.dtype(np.float32))) / 2)
    sees = np.broadcast_to(visible.any(axis=(1, 3)), (B, T))  # a row of a 4-D mask that sees nothing is padding, too
    return Seen(keys[:, S - T :] & sees, keys, visible)


@dataclass(frozen=True)
class Judged:
    """One value, judged.

    units    (…) error bars between theirs and ours; 0 where it doesn't count, infinite where theirs isn't finite
    typical  their root mean square
    worst    the largest
    compared how many numbers count
    """

    units: np.ndarray
    typical: float
    worst: float
    compared: int

    @property
    def agrees(self) -> bool:
        """Whether the value agrees."""
        return self.typical <= TYPICAL and self.worst <= WORST

    @property
    def bad(self) -> np.ndarray:
        """(…) True where a number is too far away: past the worst allowed, or past the typical where none is that."""
        far = self.units > WORST
        return far if far.any() else self.units > TYPICAL


def judge(theirs: np.ndarray, expected: ErrorBar, counts: np.ndarray, tolerance: float = 1.0) -> Judged:
    """How many error bars theirs is away from ours.

    theirs     same shape as the error bar's, float64
    counts     which numbers are compared; broadcasts
    tolerance  a factor on the error bars
    """
    with np.errstate(all="ignore"):
        difference = np.abs(theirs - expected.truth)
        units = np.where(difference == 0, 0.0, difference / (expected.bar * tolerance))
        units = np.where(np.isnan(units), np.inf, units)
        units = np.where(theirs == expected.truth, 0.0, units)  # ∞ − ∞
    counts = np.broadcast_to(counts, units.shape)
    units = np.where(counts, units, 0.0)
    compared = int(np.count_nonzero(counts))
    capped = np.minimum(units, 1e100)  # whose square is still a number
    typical = float(np.sqrt((capped**2).sum() / compared)) if compared else 0.0
    return Judged(units, typical, float(units.max(initial=0.0)), compared)


def shown(mask: np.ndarray) -> np.ndarray:
    """Which keys a mask shows.

    mask  booleans (as 0 and 1), True where a token may look; or numbers to add, 0 where it may
    """
    boolean = np.isin(mask, (0.0, 1.0)).all() and (mask == 1.0).any()
    return mask == 1.0 if boolean else mask > -HIDES


def judge_mask(theirs: np.ndarray, visible: np.ndarray, counts: np.ndarray) -> Judged:
    """Masks agree where they hide the same: what is added to hide a score, and whether it is added, is each one's own
    matter.

    theirs   (B or 1, H or 1, T, S)
    visible  which of them ours shows; broadcasts
    counts   (B, 1, T, 1) which are compared
    """
    if theirs.shape[0] != counts.shape[0]:
        counts = np.asarray(counts.any(axis=0, keepdims=True))
    wrong = np.asarray(shown(theirs) != visible) & counts
    worst = np.inf if wrong.any() else 0.0
    return Judged(
        np.where(wrong, np.inf, 0.0), worst, worst, int(np.count_nonzero(np.broadcast_to(counts, wrong.shape)))
    )
