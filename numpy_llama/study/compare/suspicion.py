"""What a way of differing is tested against: "if it were so, would everything agree?"

A pattern is never read off a picture: each is a change of ours that would make it theirs (these heads in that order,
times this factor), and it is named only where, after that change, all that counts agrees as honest runs do.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numpy_llama.study.compare.judging import TYPICAL, WORST

Change = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Suspect:
    """A value that disagrees.

    theirs, ours, bar  (…) float64, an axis a letter
    counts             (…) booleans: which numbers are compared
    axes               the letters
    head_dim           D
    numbers            sizes of the model that a factor may be made of, by name: {"√D": 4.0}
    """

    theirs: np.ndarray
    ours: np.ndarray
    bar: np.ndarray
    counts: np.ndarray
    axes: list[str]
    head_dim: int
    numbers: dict[str, float]

    def agrees(self, theirs: np.ndarray, ours: np.ndarray, bar: np.ndarray, counts: np.ndarray) -> bool:
        """Whether two arrays agree as honest runs do: (…) all of them, or broadcasting."""
        if counts.sum() < 2:
            return False
        with np.errstate(all="ignore"):
            units = np.abs(theirs - ours) / bar
        units = units[np.broadcast_to(counts, units.shape)]
        if not np.isfinite(units).all():
            return False
        return bool(units.max() <= WORST and np.sqrt(np.mean(units**2)) <= TYPICAL)

    def if_theirs(self, change: Change) -> bool:
        """Whether theirs, changed elementwise, would agree; the bar grows with it where it must."""
        with np.errstate(all="ignore"):
            changed = change(self.theirs)
            bar = np.abs(change(self.theirs + self.bar) - changed)  # an error of theirs grows or shrinks with it
            return self.agrees(changed, self.ours, np.fmax(bar, self.bar), self.counts)

    def if_moved(self, move: Change) -> bool:
        """Whether ours with its numbers in other places would be theirs."""
        counts = self.counts & move(self.counts)
        return self.agrees(self.theirs, move(self.ours), move(self.bar), counts)

    def part(self, found: dict[str, list[int]]) -> "Suspect":
        """The same of some heads, positions, … alone."""
        index = np.ix_(*(found.get(a, range(n)) for a, n in zip(self.axes, self.ours.shape, strict=True)))
        return self.at(index)

    def at(self, index: Any) -> "Suspect":
        """The same of the numbers that an index picks, one that keeps every axis."""
        return replace(
            self, theirs=self.theirs[index], ours=self.ours[index], bar=self.bar[index], counts=self.counts[index]
        )

    def sums(self, array: np.ndarray, axis: int | tuple[int, ...] | None = None) -> np.ndarray:
        """Sums of what counts, with its axes kept."""
        return np.where(self.counts, array, 0.0).sum(axis=axis, keepdims=True)
