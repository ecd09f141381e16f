"""Softmax: scores become weights that are positive and sum to one."""

import numpy as np

from numpy_llama.precision import widen


def softmax(scores: np.ndarray) -> np.ndarray:
    """Exponentiate and normalise along the last axis.

        p[i] = exp(x[i] − max(x)) / Σ_j exp(x[j] − max(x))

    scores   (..., S)
    returns  (..., S), dtype of scores; computed in float32 (float64 for float64), rounded once.
             Taking the maximum off first changes nothing in exact arithmetic and keeps exp from overflowing
    source   torch.nn.functional.softmax(…, dtype=torch.float32), as eager_attention_forward calls it
    """
    wide = widen(scores)
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))  # (..., S)
    weights = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return weights.astype(scores.dtype, copy=False)
