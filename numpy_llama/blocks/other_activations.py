"""Activations that a config may ask for in place of SiLU, but for the GELUs (gelu.py). No Llama of note uses one.

Each takes an array (...) of any of the four dtypes and returns one of the same shape and dtype. Where torch has one
operation for the whole formula, it is computed in float32 (float64 for float64) and rounded once; where Transformers
writes the formula out in several, each of them rounds.

source  the table ACT2FN of Transformers 5; the papers named below
"""

import math
from collections.abc import Callable
from functools import wraps

import numpy as np

from numpy_llama.blocks.erf import erf
from numpy_llama.precision import scale, widen

Activation = Callable[[np.ndarray], np.ndarray]


def one_operation(formula: Activation) -> Activation:
    """The formula, computed in float32 (float64 for float64) and rounded once, however many steps it has."""

    @wraps(formula)
    @np.errstate(over="ignore")  # exp or a cube may reach infinity; what is made of it has a limit
    def function(x: np.ndarray) -> np.ndarray:
        return formula(widen(x)).astype(x.dtype, copy=False)

    return function


def plus(x: np.ndarray, number: float) -> np.ndarray:
    """x + number, rounded once; torch rounds a number that it adds, though not one that it multiplies by (`scale`)."""
    return x + x.dtype.type(number)


def divide(x: np.ndarray, number: float) -> np.ndarray:
    """x / number, rounded once; the number itself is not rounded."""
    return (widen(x) / number).astype(x.dtype, copy=False)


# -- in one operation --------------------------------------------------------------------------------------------------


@one_operation
def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e⁻ˣ)."""
    return 1 / (1 + np.exp(-x))


def tanh(x: np.ndarray) -> np.ndarray:
    """(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ), in float64: NumPy's float32 tanh is a unit off now and then, and 1 + tanh shows it."""
    return np.tanh(x.astype(np.float64)).astype(x.dtype)


@one_operation
def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0). Nair & Hinton 2010."""
    return np.maximum(x, 0)


@one_operation
def relu6(x: np.ndarray) -> np.ndarray:
    """min(max(x, 0), 6). Krizhevsky 2010."""
    return np.minimum(np.maximum(x, 0), 6)


@one_operation
def leaky_relu(x: np.ndarray) -> np.ndarray:
    """x where it is positive, x / 100 elsewhere. Maas et al. 2013."""
    return np.where(x > 0, x, x * 0.01)


@one_operation
def hardswish(x: np.ndarray) -> np.ndarray:
    """x min(max(x + 3, 0), 6) / 6: SiLU in straight and square pieces. Howard et al. 2019."""
    return x * np.minimum(np.maximum(x + 3, 0), 6) / 6


@one_operation
def mish(x: np.ndarray) -> np.ndarray:
    """x tanh(ln(1 + eˣ)). Misra 2019."""
    return x * np.tanh(np.log1p(np.exp(x)))


@one_operation
def softplus(x: np.ndarray) -> np.ndarray:
    """ln(1 + eˣ), and x itself above 20, as in torch: there the two differ by 2e-9. Dugas et al. 2000."""
    return np.where(x > 20, x, np.log1p(np.exp(x)))


# -- in several operations ---------------------------------------------------------------------------------------------


def linear_activation(x: np.ndarray) -> np.ndarray:
    """x."""
    return x


@np.errstate(over="ignore")
def relu2(x: np.ndarray) -> np.ndarray:
    """max(x, 0)². So et al. 2021."""
    return relu(x) * relu(x)


@np.errstate(over="ignore")
def laplace(x: np.ndarray) -> np.ndarray:
    """½ (1 + erf((x − µ) / (σ √2))), bounded by 1. Ma et al. 2022 (Mega); µ = √½ and σ = √(1 / 4π), to six digits."""
    standard = divide(plus(x, -0.707107), 0.282095 * math.sqrt(2))
    return scale(plus(erf(standard), 1), 0.5)


def sqrtsoftplus(x: np.ndarray) -> np.ndarray:
    """√ln(1 + eˣ)."""
    return one_operation(np.sqrt)(softplus(x))
