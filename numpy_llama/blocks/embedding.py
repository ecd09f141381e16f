"""Token embedding: a table of vectors, one row for each token id."""

import numpy as np


def embedding(input_ids: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Look up one vector for each token.

        y[b, t] = weight[input_ids[b, t]]

    input_ids  (B, T), integers in 0 … V − 1
    weight     (V, E)
    returns    (B, T, E), dtype of weight
    raises     IndexError where an id is not below V (LlamaModel checks, and says which, before it gets here)
    source     torch.nn.Embedding; `model.embed_tokens` of LlamaModel
    """
    return weight[input_ids]  # (B, T, E)
