"""Sampler: from logits to the next token.

Every rule takes logits and returns logits, with −∞ where a token is ruled out; `sample` draws from what is left. The
randomness comes from outside, one uniform number for each row, so that a draw can be published, repeated and checked.
"""

import numpy as np

from numpy_llama.blocks.softmax import softmax


def greedy(logits: np.ndarray) -> np.ndarray:
    """The likeliest token of each row; the lowest id where several are equally likely.

    logits   (B, V)
    returns  (B,), int64
    """
    return logits.argmax(axis=-1)


def sample(logits: np.ndarray, uniforms: np.ndarray | np.random.Generator) -> np.ndarray:
    """Draw one token for each row with the probabilities softmax(logits).

        token = the first i with p[0] + … + p[i] > u

    logits    (B, V), float32 or float64; −∞ where a token is ruled out
    uniforms  (B,) numbers in [0, 1), or a Generator to take them from
    returns   (B,), int64
    source    inverse transform sampling; torch.multinomial draws from the same distribution with other random numbers
    """
    if isinstance(uniforms, np.random.Generator):
        uniforms = uniforms.random(len(logits))
    probabilities = softmax(logits.astype(np.float64))  # a float32 sum of 128,000 terms would be off by a token or two
    cumulative = probabilities.cumsum(axis=-1)  # (B, V)
    threshold = np.asarray(uniforms)[:, None] * cumulative[:, -1:]  # (B, 1); the last sum is 1 but for rounding
    return (cumulative <= threshold).sum(axis=-1)  # (B,)


def scale_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Below 1 the likely become likelier, above 1 all become more alike.

        logits / temperature

    source   Ackley et al. 1985; TemperatureLogitsWarper
    """
    return logits / temperature


def keep_top_k(logits: np.ndarray, top_k: int) -> np.ndarray:
    """Keep the k likeliest tokens, and any that equals the k-th.

    source   Fan et al. 2018; TopKLogitsWarper
    """
    k = min(top_k, logits.shape[-1])
    kth = np.partition(logits, -k, axis=-1)[:, -k, None]  # (B, 1)
    return np.where(logits < kth, -np.inf, logits).astype(logits.dtype, copy=False)


def keep_top_p(logits: np.ndarray, top_p: float) -> np.ndarray:
    """Keep the smallest set of likeliest tokens whose probabilities sum to top_p or more; always at least one.

    source   Holtzman et al. 2019 (nucleus sampling); TopPLogitsWarper
    """
    order = logits.argsort(axis=-1, kind="stable")  # (B, V), least likely first
    ascending = np.take_along_axis(logits, order, axis=-1)
    sums = softmax(ascending).cumsum(axis=-1, dtype=np.float64)  # as torch does: float32 sums of many terms would drift
    tail = sums.astype(logits.dtype) <= 1 - top_p  # what can go without the rest falling below top_p
    tail[:, -1] = False
    removed = np.empty_like(tail)
    np.put_along_axis(removed, order, tail, axis=-1)
    return np.where(removed, -np.inf, logits).astype(logits.dtype, copy=False)


def keep_min_p(logits: np.ndarray, min_p: float) -> np.ndarray:
    """Keep tokens at least min_p times as likely as the likeliest.

    source   Nguyen et al. 2024; MinPLogitsWarper
    """
    probabilities = softmax(logits)
    removed = probabilities < min_p * probabilities.max(axis=-1, keepdims=True)
    return np.where(removed, -np.inf, logits).astype(logits.dtype, copy=False)


def penalize_repetition(logits: np.ndarray, seen_ids: np.ndarray, penalty: float) -> np.ndarray:
    """Make every token that the row has already (prompt included) less likely, for a penalty above 1.

        logit / penalty where it is positive, logit · penalty where it is negative

    logits    (B, V)
    seen_ids  (B, S), integers
    source    Keskar et al. 2019 (CTRL), section 4.1; RepetitionPenaltyLogitsProcessor
    """
    seen = np.take_along_axis(logits, seen_ids, axis=-1)  # (B, S)
    penalized = logits.copy()
    np.put_along_axis(penalized, seen_ids, np.where(seen < 0, seen * penalty, seen / penalty), axis=-1)
    return penalized
