"""Grouped-query attention: every token gathers values from the tokens whose keys match its query.

H query heads share K key/value heads: query heads 0 … G−1 read key/value head 0, the next G read head 1, and so on.
With K = H this is the multi-head attention of 2017, with K = 1 multi-query attention.
"""

from collections.abc import Callable

import numpy as np

from numpy_llama.blocks.softmax import softmax as plain_softmax
from numpy_llama.precision import matmul, scale
from numpy_llama.probe import probe


def attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    mask: np.ndarray | None = None,
    scaling: float | None = None,
    *,
    softmax: Callable[[np.ndarray], np.ndarray] = plain_softmax,
) -> np.ndarray:
    """Mix the values, weighted by how well each key matches the query.

        context = softmax(Q Kᵀ / √D + mask) V,   head h reading key/value head h // G

    query    (B, H, T, D), rotated
    key      (B, K, S, D), rotated; the cached ones first
    value    (B, K, S, D)
    mask     (B or 1, 1, T, S), added to the scores; None where every key may be seen
    scaling  1/√D unless given
    returns  (B, H, T, D), dtype of query; product, scaling and mask are each rounded
    raises   ValueError where H is not a multiple of K, or shapes don't fit
    source   Vaswani et al. 2017, eq. 1; Ainslie et al. 2023 (GQA); eager_attention_forward
    """
    B, H, T, D = query.shape
    K, S = key.shape[1:3]
    if H % K:
        raise ValueError(f"attention: {H} query heads can't share {K} key/value heads evenly")
    if scaling is None:
        scaling = D**-0.5

    # The G query heads of a group stand one below the other, so that one product serves the whole group.
    grouped = query.reshape(B, K, (H // K) * T, D)  # (B, K, G·T, D)
    scores = scale(matmul(grouped, key.swapaxes(-1, -2)), scaling).reshape(B, H, T, S)
    if mask is not None:
        scores = scores + mask
    scores = probe("scores", scores)  # (B, H, T, S)
    weights = probe("weights", softmax(scores))  # (B, H, T, S)
    context = matmul(weights.reshape(B, K, (H // K) * T, S), value)  # (B, K, G·T, D)
    return probe("context", context.reshape(B, H, T, D))
