"""GELU, and what has been put in its place when erf was slow.

Each takes an array (...) of any of the four dtypes and returns one of the same shape and dtype. Where torch has one
operation for the whole formula, it is computed in float32 (float64 for float64) and rounded once; where Transformers
writes the formula out in several, each of them rounds.

source  Hendrycks & Gimpel 2016; the table ACT2FN of Transformers 5
"""

import math

import numpy as np

from numpy_llama.blocks.erf import erf, erf_by_hastings
from numpy_llama.blocks.other_activations import divide, one_operation, plus, sigmoid, tanh
from numpy_llama.precision import scale, widen

SLOPE = math.sqrt(2 / math.pi)  # of 2Φ(x) − 1 at 0


@np.errstate(over="ignore")
def gelu(x: np.ndarray) -> np.ndarray:
    """x Φ(x): a number times the share of a normal distribution that lies below it."""
    wide, error_function = widen(x), erf if x.dtype.itemsize > 2 else erf_by_hastings
    return (wide * 0.5 * (1 + error_function(wide * math.sqrt(0.5)))).astype(x.dtype, copy=False)


@one_operation
def gelu_pytorch_tanh(x: np.ndarray) -> np.ndarray:
    """½ x (1 + tanh(√(2/π) (x + 0.044715 x³))): GELU within 5e-4, without erf."""
    return x * 0.5 * (1 + tanh(SLOPE * (x + 0.044715 * x * x * x)))


# -- written out: every operation rounds -------------------------------------------------------------------------------


def gelu_10(x: np.ndarray) -> np.ndarray:
    """gelu(x), at most 10. Zafrir et al. 2019, whose bound below, −10, no GELU ever reaches."""
    return np.minimum(gelu(x), x.dtype.type(10))


def gelu_python(x: np.ndarray) -> np.ndarray:
    """gelu, as ½ x (1 + erf(x / √2))."""
    return scale(x, 0.5) * plus(erf(divide(x, math.sqrt(2))), 1)


@np.errstate(over="ignore")
def gelu_new(x: np.ndarray) -> np.ndarray:
    """gelu_pytorch_tanh; torch.pow(x, 3) rounds once in float16, and after each of its products in bfloat16."""
    cube = (widen(x) ** 3).astype(x.dtype) if x.dtype == np.float16 else x * x * x
    return _by_tanh(x, scale(x + scale(cube, 0.044715), SLOPE))


@np.errstate(over="ignore")
def gelu_fast(x: np.ndarray) -> np.ndarray:
    """gelu_pytorch_tanh, with x taken out of the bracket and √(2/π) cut to ten digits."""
    return _by_tanh(x, scale(x, 0.7978845608) * plus(scale(x, 0.044715) * x, 1))


@np.errstate(over="ignore")
def quick_gelu(x: np.ndarray) -> np.ndarray:
    """x · sigmoid(1.702 x): GELU within 0.021."""
    return x * sigmoid(scale(x, 1.702))


def _by_tanh(x: np.ndarray, inner: np.ndarray) -> np.ndarray:
    return scale(x, 0.5) * plus(tanh(inner), 1)
