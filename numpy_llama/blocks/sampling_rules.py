"""Rules that make sampling bolder or more careful: logits in, logits out, with −∞ where a token is ruled out."""

import numpy as np

from numpy_llama.blocks.softmax import softmax


def scale_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Below 1 the likely become likelier, above 1 all become more alike.

        logits / temperature

    source   Ackley et al. 1985; TemperatureLogitsWarper
    """
    return logits / temperature


def keep_top_k(logits: np.ndarray, top_k: int, at_least: int = 1) -> np.ndarray:
    """Keep the k likeliest tokens, and any that equals the k-th; `at_least` so many, here and in the rules below.

    source   Fan et al. 2018; TopKLogitsWarper, which calls it min_tokens_to_keep
    """
    k = min(max(top_k, at_least), logits.shape[-1])
    kth = np.partition(logits, -k, axis=-1)[:, -k, None]  # (B, 1)
    return np.where(logits < kth, -np.inf, logits).astype(logits.dtype, copy=False)


def keep_top_p(logits: np.ndarray, top_p: float, at_least: int = 1) -> np.ndarray:
    """Keep the smallest set of likeliest tokens whose probabilities sum to top_p or more.

    source   Holtzman et al. 2019 (nucleus sampling); TopPLogitsWarper
    """
    order = logits.argsort(axis=-1, kind="stable")  # (B, V), least likely first
    ascending = np.take_along_axis(logits, order, axis=-1)
    sums = softmax(ascending).cumsum(axis=-1, dtype=np.float64)  # as torch does: float32 sums of many terms would drift
    tail = sums.astype(logits.dtype) <= 1 - top_p  # what can go without the rest falling below top_p
    tail[:, -at_least:] = False
    removed = np.empty_like(tail)
    np.put_along_axis(removed, order, tail, axis=-1)
    return np.where(removed, -np.inf, logits).astype(logits.dtype, copy=False)


def keep_min_p(logits: np.ndarray, min_p: float, at_least: int = 1) -> np.ndarray:
    """Keep tokens at least min_p times as likely as the likeliest.

    source   Nguyen et al. 2024; MinPLogitsWarper
    """
    probabilities = softmax(logits)
    removed = probabilities < min_p * probabilities.max(axis=-1, keepdims=True)
    if at_least > 1:
        np.put_along_axis(removed, np.argsort(-probabilities, axis=-1, kind="stable")[:, :at_least], False, axis=-1)
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
