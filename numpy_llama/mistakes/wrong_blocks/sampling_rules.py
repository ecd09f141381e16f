"""Temperature, top-k, top-p, min-p and the repetition penalty done wrong."""

import numpy as np

from numpy_llama.blocks.sampling_rules import (
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    scale_temperature,
)
from numpy_llama.blocks.softmax import softmax
from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong

Array = np.ndarray


def temperature_multiplied(logits: Array, temperature: float) -> Array:
    """multiplied by the temperature"""
    return logits * logits.dtype.type(temperature)


def temperature_on_probabilities(logits: Array, temperature: float) -> Array:
    """temperature on probabilities"""
    return softmax(logits) / logits.dtype.type(temperature)


def top_k_one_too_few(logits: Array, top_k: int) -> Array:
    """top-k keeps one too few"""
    return keep_top_k(logits, max(top_k - 1, 1))


def top_k_least_likely(logits: Array, top_k: int) -> Array:
    """top-k keeps the least likely"""
    return -keep_top_k(-logits, top_k)


def top_k_exactly_k(logits: Array, top_k: int) -> Array:
    """top-k breaks ties"""
    order = np.argsort(-logits, axis=-1, kind="stable")[:, :top_k]
    kept = np.full_like(logits, -np.inf)
    np.put_along_axis(kept, order, np.take_along_axis(logits, order, axis=-1), axis=-1)
    return kept  # of equal logits it keeps the lowest ids alone


def top_k_set_to_zero(logits: Array, top_k: int) -> Array:
    """top-k sets logits to zero"""
    kept = keep_top_k(logits, top_k)
    return np.where(np.isinf(kept), logits.dtype.type(0), kept)


def top_p_stops_short(logits: Array, top_p: float) -> Array:
    """top-p stops short of p"""
    order = np.argsort(-logits, axis=-1, kind="stable")
    cumulative = softmax(np.take_along_axis(logits, order, axis=-1)).cumsum(axis=-1)
    removed = np.empty(logits.shape, bool)
    np.put_along_axis(
        removed, order, cumulative > logits.dtype.type(top_p), axis=-1
    )  # the token that reaches p goes, too
    return np.where(removed, logits.dtype.type(-np.inf), logits)


def top_p_one_too_many(logits: Array, top_p: float) -> Array:
    """top-p keeps one too many"""
    kept = keep_top_p(logits, top_p)
    next_one = np.where(np.isinf(kept), logits, -np.inf).argmax(axis=-1)[:, None]
    np.put_along_axis(kept, next_one, np.take_along_axis(logits, next_one, axis=-1), axis=-1)
    return kept


def top_p_without_sorting(logits: Array, top_p: float) -> Array:
    """top-p without sorting"""
    before = softmax(logits).cumsum(axis=-1) - softmax(logits)
    return np.where(before < logits.dtype.type(top_p), logits, logits.dtype.type(-np.inf))


def min_p_absolute(logits: Array, min_p: float) -> Array:
    """min-p as an absolute share"""
    likely = softmax(logits) >= logits.dtype.type(min_p)
    return np.where(likely, logits, logits.dtype.type(-np.inf))


def min_p_of_logits(logits: Array, min_p: float) -> Array:
    """min-p on logits"""
    return np.where(logits >= logits.dtype.type(min_p) * logits.max(), logits, logits.dtype.type(-np.inf))


def min_p_drops_the_likeliest(logits: Array, min_p: float) -> Array:
    """min-p drops the likeliest"""
    return np.where(np.isinf(keep_min_p(logits, min_p)), logits, logits.dtype.type(-np.inf))


def penalty_divides_negative_logits(logits: Array, seen_ids: Array, penalty: float) -> Array:
    """negative logits divided by the penalty"""
    penalized = logits.copy()
    seen = np.take_along_axis(logits, seen_ids, axis=-1)
    np.put_along_axis(penalized, seen_ids, seen / logits.dtype.type(penalty), axis=-1)
    return penalized


def penalty_for_every_time(logits: Array, seen_ids: Array, penalty: float) -> Array:
    """penalty for every time a token was there"""
    for i in range(seen_ids.shape[1]):
        logits = penalize_repetition(logits, seen_ids[:, i : i + 1], penalty)
    return logits


def penalty_as_reward(logits: Array, seen_ids: Array, penalty: float) -> Array:
    """penalty that rewards"""
    return penalize_repetition(logits, seen_ids, 1 / penalty)


def penalty_for_all_rows(logits: Array, seen_ids: Array, penalty: float) -> Array:
    """penalty for the tokens of other rows"""
    everywhere = np.broadcast_to(seen_ids.reshape(1, -1), (len(logits), seen_ids.size))
    return penalize_repetition(logits, everywhere, penalty)


def penalty_in_place(logits: Array, seen_ids: Array, penalty: float) -> Array:
    """penalty written into the logits"""
    logits[:] = penalize_repetition(logits, seen_ids, penalty)
    return logits


def temperature_in_double(logits: Array, temperature: float) -> Array:
    """temperature promotes to float64"""
    return scale_temperature(logits.astype(np.float64), temperature)


def top_p_in_double(logits: Array, top_p: float) -> Array:
    """top-p promotes to float64"""
    return keep_top_p(logits.astype(np.float64), top_p)


WRONG: Wrong = {
    "scale_temperature": (
        temperature_multiplied,
        temperature_on_probabilities,
        temperature_in_double,
    ),
    "keep_top_k": (
        top_k_one_too_few,
        top_k_least_likely,
        top_k_exactly_k,
        top_k_set_to_zero,
    ),
    "keep_top_p": (
        top_p_stops_short,
        top_p_one_too_many,
        top_p_without_sorting,
        top_p_in_double,
    ),
    "keep_min_p": (
        min_p_absolute,
        min_p_of_logits,
        min_p_drops_the_likeliest,
    ),
    "penalize_repetition": (
        penalty_divides_negative_logits,
        penalty_for_every_time,
        penalty_as_reward,
        penalty_for_all_rows,
        penalty_in_place,
    ),
}
