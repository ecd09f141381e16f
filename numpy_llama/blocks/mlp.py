"""SwiGLU MLP: two projections up, one gating the other, one projection down."""

from collections.abc import Callable

import numpy as np

from numpy_llama.blocks.activations import silu
from numpy_llama.blocks.linear import linear as plain_linear
from numpy_llama.probe import probe


def mlp(
    x: np.ndarray,
    gate_proj: np.ndarray,
    up_proj: np.ndarray,
    down_proj: np.ndarray,
    gate_bias: np.ndarray | None = None,
    up_bias: np.ndarray | None = None,
    down_bias: np.ndarray | None = None,
    *,
    activation: Callable[[np.ndarray], np.ndarray] = silu,
    linear: Callable[..., np.ndarray] = plain_linear,
) -> np.ndarray:
    """Widen every vector to F channels, let one half gate the other, and come back to E.

        y = (silu(x W_gateᵀ) ⊙ (x W_upᵀ)) W_downᵀ

    x                   (..., E)
    gate_proj, up_proj  (F, E)
    down_proj           (E, F)
    biases              (F,), (F,), (E,) or None
    returns             (..., E), dtype of x; activation and product are each rounded
    source              Shazeer 2020 (GLU variants), eq. 6; LlamaMLP
    """
    gate = probe("gate_proj", linear(x, gate_proj, gate_bias))  # (..., F)
    up = probe("up_proj", linear(x, up_proj, up_bias))  # (..., F)
    gated = probe("gated", probe("act_fn", activation(gate)) * up)  # (..., F)
    return probe("down_proj", linear(gated, down_proj, down_bias))  # (..., E)
