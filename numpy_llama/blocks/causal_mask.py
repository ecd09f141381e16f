"""Causal mask: a token sees itself and what came before, never what comes after, and never padding."""

import numpy as np

from numpy_llama.precision import lowest


def causal_mask(new: int, total: int, dtype: np.dtype, attention_mask: np.ndarray | None = None) -> np.ndarray:
    """What to add to the attention scores: 0 where a token may look, the dtype's lowest number where it may not.

        mask[b, 0, t, s] = 0 if s ≤ (S − T) + t and attention_mask[b, s] else lowest(dtype)

    new             T, tokens of this call; they are the last T of the total
    total           S, cached and new tokens together
    dtype           of the scores
    attention_mask  (B, S), 1 for a real token and 0 for padding; None where nothing is padded
    returns         (B, 1, T, S), dtype `dtype`; B is 1 without an attention_mask
    source          Vaswani et al. 2017, section 3.2.3; create_causal_mask (eager) in Transformers. The lowest finite
                    number instead of −∞ keeps a row that sees nothing (padding on the left) free of NaN
    """
    query_index = np.arange(total - new, total)[:, None]  # (T, 1)
    visible = (np.arange(total) <= query_index)[None, None]  # (1, 1, T, S)
    if attention_mask is not None:
        visible = visible & attention_mask.astype(bool)[:, None, None, :]  # (B, 1, T, S)
    return np.where(visible, dtype.type(0), lowest(dtype))
