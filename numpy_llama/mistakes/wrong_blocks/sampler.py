"""Greedy choice and draws done wrong."""

import numpy as np

from numpy_llama.blocks.sampler import greedy, sample
from numpy_llama.blocks.softmax import softmax
from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong

Array = np.ndarray


def greedy_last_of_equals(logits: Array) -> Array:
    """last of equal logits"""
    return logits.shape[-1] - 1 - greedy(logits[:, ::-1])


def greedy_least(logits: Array) -> Array:
    """least likely token"""
    return greedy(-logits)


def sample_of_logits(logits: Array, uniforms: Array) -> Array:
    """softmax taken twice"""
    return sample(softmax(logits), uniforms)  # softmax taken twice


def sample_one_further(logits: Array, uniforms: Array) -> Array:
    """the token after the one drawn"""
    return np.minimum(sample(logits, uniforms) + 1, logits.shape[-1] - 1)


def sample_with_border_included(logits: Array, uniforms: Array) -> Array:
    """border counted to the wrong token"""
    cumulative = softmax(logits.astype(np.float64)).cumsum(axis=-1)
    return (cumulative < np.asarray(uniforms)[:, None]).sum(axis=-1)  # < for ≤: with u = 0, token 0 even if ruled out


def sample_from_the_other_end(logits: Array, uniforms: Array) -> Array:
    """cumulative sum from the other end"""
    return logits.shape[-1] - 1 - sample(logits[:, ::-1], uniforms)


def sample_greedily(logits: Array, uniforms: Array) -> Array:
    """greedy instead of a draw"""
    return greedy(logits)


def sample_with_one_number_for_all(logits: Array, uniforms: Array) -> Array:
    """one random number for all rows"""
    return sample(logits, np.full(len(logits), np.asarray(uniforms)[0]))


WRONG: Wrong = {
    "greedy": (
        greedy_last_of_equals,
        greedy_least,
    ),
    "sample": (
        sample_of_logits,
        sample_one_further,
        sample_with_border_included,
        sample_from_the_other_end,
        sample_greedily,
        sample_with_one_number_for_all,
    ),
}
