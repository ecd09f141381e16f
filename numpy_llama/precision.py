"""How a dtype rounds.

A value lives in one of four dtypes: float64 (the oracle), float32, float16 and bfloat16. Sums over many products are
never taken in two bytes: processors and torch widen, add up there, and round once at the end. The functions
here do the same, so that a block can say *what* it computes and leave *how it rounds* to this file.

Two traps of NumPy make the rule necessary: `bfloat16 @ bfloat16` and `bfloat16 * 0.5` quietly return float32, and
NumPy's own float16 matmul is tens of times slower than float32's. A Python number beside a float32 or float64 array is
safe: since NumPy 2 it takes the array's dtype (NEP 50). A NumPy scalar is not, so what may be one goes through float().

source  the eager Llama of Transformers: one rounding for each torch operation
"""

import ml_dtypes
import numpy as np

from numpy_llama.errors import LlamaError

DTYPES: dict[str, np.dtype] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


def float_dtype(dtype: object) -> np.dtype:
    """The NumPy dtype for a name such as "bfloat16", or for one of the four dtypes itself.

    raises  LlamaError for any other
    """
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", getattr(dtype, "__name__", None))
    if name not in DTYPES:
        raise LlamaError("unknown dtype", where="dtype", expected="one of " + ", ".join(DTYPES), found=repr(dtype))
    return DTYPES[name]


def compute_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype for sums, exponentials and angles of a `dtype` array: float64 for float64, else float32."""
    return DTYPES["float64"] if dtype == np.float64 else DTYPES["float32"]


def widen(x: np.ndarray) -> np.ndarray:
    """x in its compute dtype; x itself where it is there already."""
    return x if x.dtype.itemsize > 2 else x.astype(np.float32)


def widen_factor(x: np.ndarray) -> np.ndarray:
    """x as a factor of a matrix product: bfloat16 in float32, float16 in float64, in which sums lose next to nothing.

    Torch adds up float16 in float32, in an order of its own; the nearly exact sum has its last bit more often than a
    float32 sum in another order has. It is no slower: NumPy converts float16 to float64 faster than to float32.
    """
    return x if x.dtype.itemsize > 2 else x.astype(np.float64 if x.dtype == np.float16 else np.float32)


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, products added up in a wider dtype (widen_factor) and rounded once.

    a        (..., N, I)
    b        (..., I, M), same dtype as a
    returns  (..., N, M), dtype of a
    """
    if a.dtype.itemsize > 2:
        return a @ b
    return (widen_factor(a) @ widen_factor(b)).astype(a.dtype)


def scale(x: np.ndarray, factor: float) -> np.ndarray:
    """x · factor, rounded once: the factor itself is not rounded to two bytes first.

    x        (...), any of the four dtypes
    returns  (...), dtype of x
    """
    return (widen(x) * float(factor)).astype(x.dtype, copy=False)


def lowest(dtype: np.dtype) -> np.generic:
    """The most negative finite number of a dtype: −3.4e38 in float32, −65504 in float16."""
    return dtype.type(ml_dtypes.finfo(dtype).min)  # np.finfo doesn't know bfloat16
