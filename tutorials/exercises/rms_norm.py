"""Exercise: write RMSNorm.

Judge your function with

    numpy-llama grade tutorials/exercises/rms_norm.py

and, when you are stuck, ask for a hint with --hint 1, --hint 2, …
"""

import numpy as np


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """Scale every vector to root-mean-square 1, then each channel by its weight.

        y = x / sqrt(mean(x²) + eps) · weight

    x        (..., E): any number of vectors of E channels
    weight   (E,), dtype of x
    eps      a small positive number under the root
    returns  (..., E), dtype of x

    The dtype may be float64, float32, float16 or bfloat16 (from ml_dtypes). In float64 and float32 everything is
    computed in that dtype. In the two-byte dtypes the vector is widened to float32 first, normed there, rounded back
    to x's dtype, and then multiplied by the weight. x and weight themselves stay as they are.
    """
    raise NotImplementedError
