"""RMSNorm: keep a vector's direction, set its length, then scale each channel."""

import numpy as np

from numpy_llama.precision import widen
from numpy_llama.probe import probe


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """Scale every vector to root-mean-square 1, then each channel by its weight.

        y = x / sqrt(mean(x²) + eps) · weight

    x        (..., E)
    weight   (E,)
    eps      under the root, so that a zero vector stays zero: 1e-5 or 1e-6, from the config
    returns  (..., E), dtype of x; the mean is taken in float32 (float64 for float64)
    raises   ValueError where weight is not (E,)
    source   Zhang & Sennrich 2019, eq. 4; rounding order of LlamaRMSNorm (round, then multiply, then round again)
    """
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"rms_norm: weight {weight.shape} doesn't fit vectors of {x.shape[-1]} channels")
    wide = widen(x)
    mean_square = np.vecdot(wide, wide)[..., None] / x.shape[-1]  # (..., 1)
    normed = wide * (1 / np.sqrt(mean_square + float(eps)))  # (..., E)
    normed = probe("normed", normed.astype(x.dtype, copy=False))
    return weight * normed  # (..., E)
