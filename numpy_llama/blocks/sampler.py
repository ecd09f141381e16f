"""Sampler: from logits to the next token.

Rules may change the logits before (sampling_rules.py, logits_rules.py), with −∞ where a token is ruled out. The
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
