"""Ways of differing that leave every number in its place: zeros, signs, factors, constants added, coarser rounding."""

from collections.abc import Iterator

import numpy as np

from numpy_llama.precision import DTYPES
from numpy_llama.study.compare.error_bars import half_last_bit
from numpy_llama.study.compare.suspicion import Suspect

COARSER = {"float32": ("float16", "bfloat16"), "float64": ("float32", "float16", "bfloat16")}
ENOUGH = 3  # numbers, of which a mean says something
Named = tuple[str, str]  # kind, and what to say


def arithmetic(suspect: Suspect, dtype: str) -> Iterator[Named]:
    """The kinds of difference that fit, the plainest first.

    dtype  that theirs was computed in
    """
    yield from _constant(suspect)
    yield from _factor(suspect)
    yield from _rounded(suspect, dtype)
    constant = float((suspect.sums(suspect.theirs - suspect.ours) / suspect.counts.sum()).item())
    if suspect.if_theirs(lambda x: x - constant):
        yield "offset", f"{constant:+.6g} everywhere"


def _constant(suspect: Suspect) -> Iterator[Named]:
    theirs = suspect.theirs[suspect.counts]
    if theirs.size > 1 and (theirs == theirs[0]).all():
        yield ("zeros", "zero everywhere") if theirs[0] == 0 else ("constant", f"{theirs[0]:.6g} everywhere")


def _factor(suspect: Suspect) -> Iterator[Named]:
    weight = 1 / suspect.bar**2
    square = float(suspect.sums(suspect.ours**2 * weight).item())
    if not square:
        return
    factor = float(suspect.sums(suspect.theirs * suspect.ours * weight).item()) / square
    if factor and np.isfinite(factor) and suspect.if_theirs(lambda x: x / factor):
        if abs(factor + 1) < 0.02:
            yield "sign", "the sign is the other one"
        else:
            yield "scale", f"{factor:.6g} times ours{_known(factor, suspect.numbers)}"


def _known(factor: float, numbers: dict[str, float]) -> str:
    """Which number of the model a factor is, to a thousandth."""
    for name, number in numbers.items():
        if abs(factor / number - 1) < 1e-3:
            return f": {name}"
        if abs(factor * number - 1) < 1e-3:
            return f": 1/{name}"
    return ""


def _rounded(suspect: Suspect, dtype: str) -> Iterator[Named]:
    """Every number within a last bit of a coarser dtype, and some that a finer one wouldn't have got so wrong."""
    theirs, ours = suspect.theirs[suspect.counts], suspect.ours[suspect.counts]
    if not np.isfinite(theirs).all():
        return
    for coarse in COARSER.get(dtype, ()):
        with np.errstate(over="ignore"):
            exact = bool((theirs.astype(DTYPES[coarse]).astype(np.float64) == theirs).all())
        off = np.abs(theirs - ours) / (half_last_bit(ours, coarse) + suspect.bar[suspect.counts] * 3)
        if exact and off.max() <= 1.001:
            yield "rounded", f"as if rounded to {coarse}"
            return


def coarse(suspect: Suspect, dtype: str) -> Iterator[Named]:
    """Near everywhere, and nowhere nearer than a coarser dtype would be."""
    if not np.isfinite(suspect.theirs).all():
        return
    row = np.sqrt(np.mean(np.where(suspect.counts, suspect.ours, 0.0) ** 2, axis=-1, keepdims=True))
    for coarse in COARSER.get(dtype, ()):
        allowed = 16 * half_last_bit(np.maximum(np.abs(suspect.ours), np.broadcast_to(row, suspect.ours.shape)), coarse)
        if (np.abs(suspect.theirs - suspect.ours) <= allowed)[suspect.counts].all():
            yield "precision", f"close, but only to the precision of {coarse}"
            return


def vectors(suspect: Suspect) -> Iterator[Named]:
    """Kinds with a number of their own for each vector or channel: the same vector added to every token, a constant to
    every row, a factor to every channel or vector.
    """
    if suspect.ours.ndim < 2:
        return
    ones = np.ones_like(suspect.ours)
    tokens = tuple(i for i, letter in enumerate(suspect.axes) if letter in ("B", "1|B", "T"))
    by_axes: tuple[tuple[tuple[int, ...], str, str], ...] = (
        (tokens, "vector", "the same vector is added for every token, as a bias is"),
        ((-1,), "shift", "a constant is added to each row, one of its own"),
    )
    for axes, kind, says in by_axes:
        count = suspect.sums(ones, axes)
        if axes and count.max() >= ENOUGH:
            added = suspect.sums(suspect.theirs - suspect.ours, axes) / np.maximum(count, 1)
            if suspect.if_theirs(lambda x, added=added: x - added):  # type: ignore[misc]
                yield kind, says
                return
    by_axes = (
        ((-1,), "lengths", "each vector points the right way and has another length: {}"),
        (tokens, "channels", "each channel has a factor of its own: {}"),
    )
    for axes, kind, says in by_axes:
        if not axes or suspect.sums(ones, axes).max() < ENOUGH:
            continue
        square = suspect.sums(suspect.ours**2, axes)
        factor = suspect.sums(suspect.theirs * suspect.ours, axes) / np.where(square == 0, 1, square)
        factor = np.where(factor == 0, 1, factor)
        if suspect.if_theirs(lambda x, factor=factor: x / factor):  # type: ignore[misc]
            if (factor < 0).any() and np.allclose(np.abs(factor), 1, atol=0.02):
                yield "signs", f"{int((factor < 0).sum())} of {factor.size} have the other sign"
            else:
                yield kind, says.format(f"from {factor.min():.6g} to {factor.max():.6g} times ours")
            return
