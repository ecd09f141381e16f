"""RoPE: a token's position as a rotation of its query and key.

Channel i of a head is paired with channel i + D/2. Each pair is a point in the plane, turned by an angle that grows
with the position; every pair turns at its own speed. A dot product of two rotated vectors depends on the *difference*
of their positions alone, which is all that attention wants to know.

Two layouts of the pairs are in use: halves (i, i + D/2), here and in Hugging Face's checkpoints, and neighbours
(2i, 2i + 1), in Meta's original code. They differ by a permutation of the rows of q_proj and k_proj, and mixing them up
is the best-known mistake in ports of Llama.
"""

import numpy as np

from numpy_llama.precision import compute_dtype
from numpy_llama.probe import probe


def rope_frequencies(head_dim: int, theta: float, dtype: np.dtype) -> np.ndarray:
    """How fast each pair of channels turns: from 1 radian a token down to nearly 1/theta.

        ω_i = 1 / theta^(2i / D),   i = 0 … D/2 − 1

    head_dim  D, even
    theta     the base, 10,000 in Llama 1 and 2
    dtype     of the model; frequencies are float32 (float64 for float64)
    returns   (D/2,), radians per token
    source    Su et al. 2021, eq. 15; LlamaRotaryEmbedding.compute_default_rope_parameters, operation by operation
    """
    return 1 / rope_powers(head_dim, theta, compute_dtype(dtype))


def rope_powers(dim: int, theta: float, dtype: np.dtype) -> np.ndarray:
    """theta^(2i / dim): (dim/2,), dtype float32 or float64.

    Taken in float64 and rounded: NumPy's own float32 power gives other last bits on other processors.
    """
    exponent = np.arange(0, dim, 2, dtype=dtype) / dtype.type(dim)
    return (np.float64(dtype.type(theta)) ** exponent.astype(np.float64)).astype(dtype)


def rope_tables(
    position_ids: np.ndarray, frequencies: np.ndarray, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of every angle that the positions need.

        cos[b, t, i] = cos[b, t, i + D/2] = cos(position_ids[b, t] · ω_i)

    position_ids       (B, T), integers
    frequencies        (D/2,), float32 or float64, from rope_frequencies
    dtype              of the tables
    attention_scaling  a factor on both tables, 1 but for some rope types
    returns            cos, sin: (B, T, D), dtype `dtype`; angles, cos and sin are taken in the frequencies' dtype
    source             LlamaRotaryEmbedding.forward
    """
    angles = position_ids[..., None].astype(frequencies.dtype) * frequencies  # (B, T, D/2)
    angles = np.concatenate((angles, angles), axis=-1)  # (B, T, D)
    cos = probe("cos", (np.cos(angles) * attention_scaling).astype(dtype, copy=False))
    sin = probe("sin", (np.sin(angles) * attention_scaling).astype(dtype, copy=False))
    return cos, sin


def rotate_half(x: np.ndarray) -> np.ndarray:
    """Turn every pair by a quarter: (a, b) → (−b, a).

    x        (..., D)
    returns  (..., D), dtype of x
    source   rotate_half in Transformers' modeling_llama
    """
    half = x.shape[-1] // 2
    return np.concatenate((-x[..., half:], x[..., :half]), axis=-1)  # (..., D)


def apply_rope(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Rotate each pair of channels by its angle.

        (a, b) → (a cos φ − b sin φ, b cos φ + a sin φ)

    x         (B, H, T, D): queries, or keys with K for H
    cos, sin  (B, T, D) from rope_tables; B may be 1
    returns   (B, H, T, D), dtype of x; two products and a sum, each rounded
    source    Su et al. 2021, eq. 34; apply_rotary_pos_emb
    """
    cos, sin = cos[:, None], sin[:, None]  # (B, 1, T, D): the same for every head
    return x * cos + rotate_half(x) * sin  # (B, H, T, D)
