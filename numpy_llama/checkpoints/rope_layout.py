"""The two orders in which checkpoints keep the rows of q_proj and k_proj.

RoPE turns the channels of a head in pairs. Which two channels make a pair is a convention, and with it the order of the
rows that compute them. For a head of 6 channels, pairs a, b, c:

    neighbours (2i, 2i + 1)     a a b b c c      Meta's original files, llama2.c, GGUF
    halves     (i, i + D/2)     a b c a b c      Hugging Face, and this package

A pair's first row is multiplied by the cosine, its second by the sine, in both orders. Queries and keys meet in a dot
product only, which doesn't care for the order of channels as long as both have the same: so a permutation of the rows
takes one convention into the other, and the model computes what it did before. Without it, every angle goes to the
wrong channels and nothing fails: the model just talks nonsense.
"""

import numpy as np


def halves_from_neighbours(rows: np.ndarray, heads: int) -> np.ndarray:
    """From Meta's order of rows to Hugging Face's.

        new[i] = old[2i],   new[i + D/2] = old[2i + 1],   i = 0 … D/2 − 1, in every head

    rows     (heads · D, …): q_proj with H heads, k_proj with K; a bias, too
    returns  (heads · D, …), dtype of rows
    """
    pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])  # (heads, D/2, 2, …)
    return pairs.swapaxes(1, 2).reshape(rows.shape)  # (heads, 2, D/2, …) → (heads · D, …)


def neighbours_from_halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """From Hugging Face's order of rows to Meta's: the way back.

    rows     (heads · D, …): q_proj with H heads, k_proj with K; a bias, too
    returns  (heads · D, …), dtype of rows
    """
    halves = rows.reshape(heads, 2, -1, *rows.shape[1:])  # (heads, 2, D/2, …)
    return halves.swapaxes(1, 2).reshape(rows.shape)  # (heads, D/2, 2, …) → (heads · D, …)
