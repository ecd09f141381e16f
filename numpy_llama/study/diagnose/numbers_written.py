"""What kind of numbers stand in a dump: logits or probabilities, and how many of their digits were written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from numpy_llama.precision import DTYPES

SURE = 1e-2  # how near to 1 probabilities must add up: those written in bfloat16, too


@dataclass(frozen=True)
class Reading:
    """What logits were turned into before they were written.

    name     "logits", "log-probabilities" or "probabilities"
    mistake  the key of the mistake that it is, where nobody meant it; "" for logits
    turn     what does the same to ours: (…, V) → (…, V)
    """

    name: str
    mistake: str
    turn: Callable[[np.ndarray], np.ndarray]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(…, V) → (…, V): logits less the logarithm of the sum of their exponentials."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """(…, V) → (…, V), positive, adding up to 1."""
    return np.exp(log_softmax(logits))


READINGS = (
    Reading("logits", "", lambda logits: logits),
    Reading("log-probabilities", "log-softmax-returned", log_softmax),
    Reading("probabilities", "probabilities-returned", softmax),
)


def reading_of(numbers: np.ndarray) -> Reading:
    """What (N, V) numbers are: logits unless they are, every vector of them, what a softmax gives or its logarithm."""
    plain, logarithms, probabilities = READINGS
    if (numbers >= 0).all() and (np.abs(numbers.sum(axis=-1) - 1) < SURE).all():
        return probabilities
    if (numbers <= SURE).all():
        with np.errstate(over="ignore"):
            if (np.abs(np.exp(numbers).sum(axis=-1) - 1) < SURE).all():
                return logarithms
    return plain


def bits_of(numbers: np.ndarray, stored: Sequence[np.ndarray]) -> tuple[str, float, str]:
    """With how many digits numbers were written.

    numbers  (N, V) float64
    stored   the arrays that they came in
    returns  the dtype whose digits they have, how far such writing moves a number (root mean square), and a sentence,
             "" where they are written in full
    """
    own = min((array.dtype for array in stored), key=lambda dtype: dtype.itemsize)
    for name in ("bfloat16", "float16"):
        with np.errstate(over="ignore"):
            short = bool((numbers == numbers.astype(DTYPES[name])).all())
        if short:
            eps, tiny = float(ml_dtypes.finfo(name).eps), float(ml_dtypes.finfo(name).smallest_subnormal)
            step = np.maximum(np.ldexp(eps / 2, np.frexp(numbers)[1]), tiny)
            sentence = f"The logits are written with {name}'s digits: what is smaller can't be seen."
            return name, _of_steps(step), sentence
    for digits in range(1, 5):
        step = 10.0**-digits
        if np.abs(numbers).max() > step and (np.abs(numbers / step - np.round(numbers / step)) < 1e-3).all():
            sentence = f"The logits are written with {digits} decimals: what is smaller can't be seen."
            return own.name, _of_steps(np.asarray(step)), sentence
    return own.name, 0.0, ""


def _of_steps(step: np.ndarray) -> float:
    """Numbers rounded to steps are off by at most half of one, evenly: 1/√12 of it, root mean square."""
    return float(np.sqrt(np.mean(step**2) / 12))
