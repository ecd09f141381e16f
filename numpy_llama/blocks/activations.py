"""SiLU: the bend between the two halves of the MLP."""

import numpy as np

from numpy_llama.precision import widen


def silu(x: np.ndarray) -> np.ndarray:
    """x times its own sigmoid: nearly 0 far to the left, nearly x far to the right, smooth in between.

        silu(x) = x / (1 + exp(−x))

    x        (...)
    returns  (...), dtype of x; computed in float32 (float64 for float64), rounded once
    source   Elfwing et al. 2017; torch.nn.functional.silu
    """
    wide = widen(x)
    with np.errstate(over="ignore"):  # exp(−x) may be inf far to the left; x / inf is the right answer, −0
        return (wide / (1 + np.exp(-wide))).astype(x.dtype, copy=False)
