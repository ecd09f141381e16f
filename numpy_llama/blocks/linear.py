"""Linear layer: the matrix product that holds nearly all of a Llama's parameters."""

import numpy as np

from numpy_llama.precision import matmul, widen, widen_factor


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """Multiply every vector by a matrix, and add a bias where there is one.

        y = x Wᵀ + b

    x        (..., I)
    weight   (O, I): stored output first, as in the checkpoint; BLAS likes x @ Wᵀ, for one row too
    bias     (O,) or None
    returns  (..., O), dtype of x; products and bias are added up in a wider dtype (widen_factor), rounded once
    raises   ValueError where the sizes don't fit
    source   torch.nn.Linear
    """
    if bias is None:
        return matmul(x, weight.T)  # (..., O)
    return (widen_factor(x) @ widen_factor(weight).T + widen(bias)).astype(x.dtype, copy=False)  # (..., O)
