"""One attempt: a mistake planted in the reference, run, and held against the stranger's logits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.mistakes.mistake import Mistake
from numpy_llama.precision import DTYPES
from numpy_llama.study.compare.error_bars import ErrorBar, error_bars
from numpy_llama.study.diagnose.stranger import Stranger
from numpy_llama.study.subject import Subject
from numpy_llama.study.trace.trace import LOGITS

RUNS = 3  # disturbed ones for an error bar: of a mean over thousands of logits, that is enough
COLUMNS = 256  # tokens of the vocabulary that are kept of each run, to see which mistakes give the same logits
FAILURES = (ValueError, LookupError, ArithmeticError, TypeError)  # a mistake may not fit a model at all

Planted = tuple[tuple[str, str], ...]  # (key, label of the variant) of each mistake, the one planted first in front


@dataclass(frozen=True)
class Distance:
    """How far a run is from the stranger's logits.

    rms       root mean square over all judged numbers
    largest   the largest difference
    places    (N,) root mean square at each judged position
    sketch    (N, columns) some of the run's own numbers
    """

    rms: float
    largest: float
    places: np.ndarray
    sketch: np.ndarray

    def score(self, floor: float) -> float:
        """The mean logarithm of the distances at the positions, lower is better.

        Where two mistakes stand together, some positions show only one of them (the first token turns by no angle, a
        prefill has no past): with that one planted, those positions come out exactly, and the logarithm honours it.

        floor  a distance below which nearer is no better
        """
        return float(np.mean(np.log(self.places + floor)))


@dataclass(frozen=True)
class Trial:
    """Mistakes that were planted, by which convention of positions, and how near they came."""

    planted: Planted
    convention: str
    distance: Distance

    @property
    def keys(self) -> tuple[str, ...]:
        """The mistakes' keys."""
        return tuple(key for key, _ in self.planted)


class Measure:
    """Holds runs against what a stranger computed, at every position of his that counts."""

    def __init__(self, stranger: Stranger):
        self._stranger = stranger
        width = next((one.shape[-1] for one in stranger.logits if one is not None), 1)
        generator = np.random.default_rng(width)
        self._columns = np.sort(generator.choice(width, min(width, COLUMNS), replace=False))

    @property
    def spread(self) -> float:
        """How far the stranger's numbers are from one number a vector, root mean square. What comes no nearer than that
        has nothing to do with them: beside logits that are small, whatever makes logits small looks near.
        """
        pairs = zip(self._stranger.logits, self._stranger.judged, strict=True)
        every = np.concatenate([one[judged] for one, judged in pairs if one is not None and judged is not None])
        return float(np.sqrt(np.mean(np.square(every - every.mean(axis=-1, keepdims=True)))))

    def distance(self, run: Sequence[np.ndarray]) -> Distance:
        """Of the logits of each call, (B, T, V); T may differ from the stranger's, the last tokens are compared."""
        places, sketches, largest = [], [], 0.0
        for theirs, judged, ours in zip(self._stranger.logits, self._stranger.judged, run, strict=True):
            if theirs is None or judged is None:
                continue
            same = min(theirs.shape[1], ours.shape[1])
            with np.errstate(all="ignore"):
                turned = np.zeros_like(theirs)  # where there is nothing to compare, all of it is missing
                turned[:, theirs.shape[1] - same :] = self._stranger.reading.turn(ours[:, -same:].astype(np.float64))
                absent = np.isnan(turned).all(axis=-1) & judged  # (B, n): a token that a mistake has dropped
                counts = judged & ~absent if np.count_nonzero(absent) <= len(absent) else judged  # one in each row
                difference = (theirs - turned)[counts]  # (N, V)
                difference = np.where(np.isfinite(difference), difference, np.inf)
                places.append(np.sqrt(np.mean(difference**2, axis=-1)))
            largest = max(largest, float(np.abs(difference).max(initial=0.0)))
            sketches.append(turned[judged][:, self._columns])
        every = np.concatenate(places)
        return Distance(float(np.sqrt(np.mean(every**2))), largest, every, np.concatenate(sketches))

    def bar(self, bars: Sequence[Mapping[str, ErrorBar]], run: Sequence[np.ndarray]) -> float:
        """Root mean square of the error bars of the logits, over the positions that count."""
        squares, count = 0.0, 0
        for theirs, judged, call in zip(self._stranger.logits, self._stranger.judged, bars, strict=True):
            if theirs is None or judged is None:
                continue
            bar = call[LOGITS].bar
            same = min(theirs.shape[1], bar.shape[1])
            if self._stranger.reading.name == "probabilities":  # whose derivatives are at most a quarter
                with np.errstate(all="ignore"):
                    bar = bar * self._stranger.reading.turn(call[LOGITS].truth)
            counted = bar[:, -same:][judged[:, -same:]]
            counted = counted[np.isfinite(counted)]
            squares, count = squares + float(np.sum(counted**2)), count + counted.size
        return float(np.sqrt(squares / max(count, 1)))


def same_logits(one: Distance, other: Distance, within: float) -> bool:
    """Whether two runs gave the same logits, as far as a distance tells."""
    with np.errstate(all="ignore"):
        return bool(np.sqrt(np.mean((one.sketch - other.sketch) ** 2)) <= within)  # NaN is not


def plant(subject: Subject, planted: Planted, catalogue: Mapping[str, Mistake]) -> Subject:
    """The subject with mistakes in it, one upon the other.

    raises  LlamaError where a variant isn't there
    """
    for key, label in planted:
        found = next((one for name, one in catalogue[key].plant(subject) if name == label), None)
        if found is None:
            raise LlamaError("can't be planted here", where=key, found=label)
        subject = found
    return subject


def attempt(subject: Subject, measure: Measure) -> Distance | None:
    """Run a subject and measure it; None where what is planted in it can't be computed."""
    try:
        return measure.distance(subject.run())
    except FAILURES:
        return None


def exactly(subject: Subject, dtype: str, measure: Measure) -> tuple[Distance, float] | None:
    """A subject's distance without our own rounding, and how far rounding may carry an honest run in this dtype.

    In two bytes it is our run in that dtype that is measured: it rounds where Transformers rounds.
    """

    def of_the_logits(_call: int, name: str) -> bool:
        return name == LOGITS

    try:
        bars = error_bars(subject.in_dtype(dtype).in_dtype("float64"), dtype, of_the_logits, runs=RUNS)
        if DTYPES[dtype].itemsize == 2:
            run: list[Any] = subject.in_dtype(dtype).run()
        else:
            run = [call[LOGITS].truth for call in bars]
        return measure.distance(run), measure.bar(bars, run)
    except FAILURES:
        return None
