"""Fused attention: the same formula as attention.py, rounded where torch's fused kernel rounds.

In float32 and float64 there is nothing to tell apart. In two-byte dtypes eager attention rounds the product, the
scaling, the mask and the weights; the fused kernel (scaled_dot_product_attention) keeps all of them in float32, and
rounds what it multiplies the values by, and the result.
"""

import numpy as np

from numpy_llama.precision import widen
from numpy_llama.probe import probe


def fused_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    mask: np.ndarray | None = None,
    scaling: float | None = None,
) -> np.ndarray:
    """Mix the values, weighted by how well each key matches the query.

        e = exp(Q Kᵀ / √D + mask − its maximum),   context = round(e) V / Σ e

    The arguments are those of attention. The intermediates have the same names, and are float32.

    returns  (B, H, T, D), dtype of query
    source   Dao et al. 2022 (FlashAttention), section 3.1; the order of roundings is that of torch's CPU kernel
    """
    B, H, T, D = query.shape
    K, S = key.shape[1:3]
    if scaling is None:
        scaling = D**-0.5
    grouped = widen(query).reshape(B, K, (H // K) * T, D)  # (B, K, G·T, D)
    scores = (grouped @ widen(key).swapaxes(-1, -2) * scaling).reshape(B, H, T, S)
    if mask is not None:
        scores = scores + widen(mask)
    scores = probe("scores", scores)  # (B, H, T, S)
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    sums = exponentials.sum(axis=-1, keepdims=True)  # (B, H, T, 1)
    weights = probe("weights", exponentials / sums)  # (B, H, T, S)
    rounded = widen((weights * sums).astype(query.dtype)).reshape(B, K, (H // K) * T, S)  # the exponentials again
    context = (rounded @ widen(value)).reshape(B, H, T, D) / sums
    return probe("context", context.astype(query.dtype))
