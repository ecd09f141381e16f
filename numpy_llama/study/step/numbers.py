"""What a value's numbers are like, and how far they are from another's."""

from dataclasses import dataclass, replace

import numpy as np

from numpy_llama.precision import DTYPES, widen
from numpy_llama.study.step.watching import HIDDEN, MASKED, Look
from numpy_llama.study.trace.trace import LOGITS

# Two honest runs differ by a few units of the last place of the coarser dtype, and layers add to it. This is for a
# quick look while stepping; `numpy-llama compare` works out how far a run may be at each value.
LAST_PLACES = 16


@dataclass(frozen=True)
class Statistics:
    """Of the numbers that are looked at and that no mask hides; NaN where there are none.

    hidden    how many a mask hides
    nan, inf  how many are no numbers
    """

    count: int
    minimum: float
    maximum: float
    mean: float
    rms: float
    hidden: int
    nan: int
    inf: int


def statistics(look: Look) -> Statistics:
    """Of what is looked at; sums are float64's, and NaN and infinities are counted, not summed."""
    hidden = look.hidden
    seen = look.numbers[~hidden].astype(np.float64)
    finite = seen[np.isfinite(seen)]
    nan, inf = int(np.isnan(seen).sum()), int(np.isinf(seen).sum())
    if not finite.size:
        finite = np.full(1, np.nan)
    figures = (finite.min(), finite.max(), finite.mean(), np.sqrt(np.mean(finite * finite)))
    least, most, mean, rms = map(float, figures)
    return Statistics(seen.size, least, most, mean, rms, int(hidden.sum()), nan, inf)


@dataclass(frozen=True)
class Difference:
    """How far a value is from another of the same name.

    largest  |ours − theirs| at `where`, the place where it is largest
    ratio    rms of the difference / rms of ours
    limit    of the ratio, up to which they are taken for the same
    problem  why they can't be held to one another: "not there", "of shape (…)"; else ""
    """

    largest: float = 0.0
    where: tuple[int, ...] = ()
    ours: float = 0.0
    theirs: float = 0.0
    ratio: float = 0.0
    limit: float = 0.0
    problem: str = ""

    @property
    def differs(self) -> bool:
        """Whether they are of another shape, or farther apart than rounding explains."""
        return self.problem.startswith("of shape") or not self.ratio <= self.limit

    @property
    def equal(self) -> bool:
        """To the last bit."""
        return not self.problem and self.largest == 0


def difference(
    name: str,
    ours: np.ndarray,
    theirs: np.ndarray | None,
    dtype: str | None = None,
    known: np.ndarray | None = None,
) -> Difference:
    """How far a value is from theirs.

    ours, theirs  (…) of any float dtype; theirs None where there is no such value
    dtype         that the coarser of the two was computed in, where it isn't the coarser of their own
    known         (…) bool, which of their numbers are there at all; None for all of them

    A number that a mask hides in both is the same, whatever it is; so is NaN beside NaN. Of logits, one of the two may
    have the last tokens only.
    """
    if theirs is None:
        return Difference(problem="not there")
    left_out = 0  # tokens of ours in front
    if name == LOGITS and ours.ndim == theirs.ndim == 3 and known is None:
        kept = min(ours.shape[1], theirs.shape[1])
        left_out = ours.shape[1] - kept
        ours, theirs = ours[:, left_out:], theirs[:, theirs.shape[1] - kept :]
    if ours.shape != theirs.shape:
        return Difference(problem=f"of shape {theirs.shape}")
    coarse = max((a.dtype for a in (ours, theirs)), key=_last_place)
    if dtype in DTYPES and _last_place(DTYPES[dtype]) > _last_place(coarse):
        coarse = DTYPES[dtype]
    limit = LAST_PLACES * _last_place(coarse)
    a, b = (widen(array).astype(np.float64) for array in (ours, theirs))
    masked = name.rpartition(".")[2] in MASKED
    hidden = a <= HIDDEN if masked else np.zeros(a.shape, bool)
    same = (a == b) | (np.isnan(a) & np.isnan(b)) | (hidden & (b <= HIDDEN))
    if known is not None:
        same |= ~known
    if same.all():
        return Difference(limit=limit)
    with np.errstate(all="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
        apart = np.where(np.isnan(apart), np.inf, apart)
        seen = a[np.isfinite(a) & ~hidden]
        size = float(np.sqrt(np.mean(seen * seen))) if seen.size else 0.0
        ratio = float(np.sqrt(np.mean(apart * apart))) / size if size else np.inf
    where = tuple(int(i) for i in np.unravel_index(int(apart.argmax()), apart.shape))
    found = Difference(float(apart.max()), where, float(a[where]), float(b[where]), ratio, limit)
    return replace(found, where=(where[0], where[1] + left_out, where[2])) if left_out else found


def _last_place(dtype: np.dtype) -> float:
    """The distance from 1 to the next number; float32's for what isn't of the four dtypes."""
    bits = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}.get(dtype.name, 23)
    return 2.0**-bits
