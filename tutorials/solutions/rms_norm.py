"""One solution of the exercise. Ours, with checks and names for the intermediate values:
numpy_llama/blocks/rms_norm.py."""

import numpy as np


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """y = x / sqrt(mean(x²) + eps) · weight"""
    wide = x if x.dtype.itemsize > 2 else x.astype(np.float32)  # float16 can't hold the square of 300
    mean_square = np.mean(wide * wide, axis=-1, keepdims=True)  # (..., 1)
    normed = wide / np.sqrt(mean_square + wide.dtype.type(eps))  # (..., E)
    return weight * normed.astype(x.dtype)
