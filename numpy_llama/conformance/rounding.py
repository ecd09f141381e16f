"""How far from the truth a correct result may be.

The truth is the formula in float64. A block that computes it in another dtype rounds several times on the way. One
rounding moves a number by at most half the gap between neighbours, which is u times the number, u = eps / 2; k
roundings one after the other move it by little more than k · u. So a tolerance is a *count of roundings*, never a
number that happened to fit:

    narrow  roundings to the block's own dtype
    wide    roundings in the dtype it computes in (float32 for the two-byte dtypes, else the same)

Sums of n terms are n roundings of the sum of the absolute terms: what cancels in the sum doesn't cancel in the error.

source  Higham 2002, Accuracy and Stability of Numerical Algorithms, lemma 3.1 and eq. 3.5
"""

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike

from numpy_llama.precision import compute_dtype


class Broken(AssertionError):
    """A property doesn't hold.

    message        in plain words
    expected, got  the two arrays that should have agreed, where there are two
    """

    def __init__(self, message: str, expected: object = None, got: object = None):
        super().__init__(message)
        self.message, self.expected, self.got = message, expected, got


def unit(dtype: np.dtype) -> float:
    """u: the most that one rounding moves a number, relative to it. 2⁻⁵³, 2⁻²⁴, 2⁻¹¹ (float16), 2⁻⁸ (bfloat16)."""
    return float(ml_dtypes.finfo(dtype).eps) / 2


def tolerance(
    dtype: np.dtype, truth: ArrayLike, *, narrow: int, wide: int = 0, terms: ArrayLike | None = None
) -> np.ndarray:
    """The largest error of a correct result, element by element.

    truth    the float64 result; narrow roundings are relative to it
    terms    what wide roundings are relative to: the sum of the absolute terms where a sum may cancel; else |truth|
    returns  float64, shape of truth
    """
    truth = np.abs(np.asarray(truth, np.float64))
    terms = truth if terms is None else np.abs(np.asarray(terms, np.float64))
    if dtype == np.float64:
        wide, narrow = 2 * wide, 2 * narrow  # the truth is a double, too, and has rounded as often
    wide_error = wide * unit(compute_dtype(dtype)) * terms
    narrow_error = narrow * unit(dtype) * (truth + wide_error)
    # Below the smallest normal number a rounding is no longer relative: it moves by half the smallest number there is.
    underflow = narrow * float(ml_dtypes.finfo(dtype).smallest_subnormal)
    # k roundings make (1 + u)^k − 1, a little above k · u; 1 % covers it for k · u below 0.02, the eighth for bfloat16.
    return (1.125 if dtype.itemsize == 2 else 1.01) * (wide_error + narrow_error) + underflow


def close(got: np.ndarray, truth: ArrayLike, allowed: ArrayLike, claim: str) -> None:
    """raises  Broken where `got` is no array of truth's shape, or off by more than `allowed` anywhere"""
    is_array(got, np.shape(truth), claim)
    wide, truth = got.astype(np.float64), np.asarray(truth, np.float64)
    with np.errstate(invalid="ignore"):
        error = np.where(wide == truth, 0.0, np.abs(wide - truth))  # inf − inf is no error
    wrong = ~(error <= allowed)  # NaN is wrong
    if wrong.any():
        raise Broken(_where(claim, wrong, error), truth, got)


def equal(got: np.ndarray, expected: ArrayLike, claim: str) -> None:
    """raises  Broken where `got` isn't `expected` in every element"""
    close(got, expected, 0.0, claim)


def holds(truth: ArrayLike, claim: str, expected: object = None, got: object = None) -> None:
    """raises  Broken where a statement isn't true"""
    if not np.all(truth):
        raise Broken(claim, expected, got)


def is_array(got: object, shape: tuple[int, ...], claim: str, dtype: np.dtype | None = None) -> None:
    """raises  Broken where `got` is no array of that shape (and dtype)"""
    if not isinstance(got, np.ndarray | np.generic):
        raise Broken(f"{claim}: returned {_article(type(got).__name__)}, not an array", got=got)
    if got.shape != shape:
        raise Broken(f"{claim}: returned shape {got.shape} instead of {shape}", got=got)
    if dtype is not None and got.dtype != dtype:
        raise Broken(f"{claim}: given {dtype}, returned {got.dtype}", got=got)


def _where(claim: str, wrong: np.ndarray, error: np.ndarray) -> str:
    if not wrong.ndim:
        return f"{claim}: off by {error:.3g}"
    place = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), wrong.shape)
    index = ", ".join(str(int(i)) for i in place)
    amount = "not a number" if np.isnan(error[place]) else f"off by {error[place]:.3g}"
    return f"{claim}: {amount} at [{index}]"


def _article(name: str) -> str:
    return ("an " if name[0].lower() in "aeiou" else "a ") + name
