"""The decode step, packed: what decoder_layer computes, for one new token a row, in fewer operations.

For one token the arithmetic is small, and to call an operation costs more than to do it. So query, key and value come
from one product, gate and up from another, queries and keys are rotated together, and results go into the arrays that
held their operands. Nothing here has a name for an observer, and no block can be swapped: LlamaModel goes through
decoder_layer where somebody watches, a block was swapped or a token is padded. That is the file to read; a test holds
this one equal to it.
"""

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.weights import LayerWeights


def decode_layer(
    hidden: np.ndarray,
    weights: LayerWeights,
    rope: tuple[np.ndarray, np.ndarray],
    cache: KVCache,
    layer_index: int,
    config: LlamaConfig,
) -> np.ndarray:
    """Take the residual stream of one new token a row through one layer.

    hidden   (B, 1, E), float32 or float64
    rope     cos and sin of the tokens' positions, (B or 1, 1, D) each
    cache    grows by one token a row in this layer
    returns  (B, 1, E), the same numbers as decoder_layer's to the last bit, where BLAS adds up a row of a packed matrix
             as it does a row of its part
    """
    B, _, E = hidden.shape
    hidden = hidden.reshape(B, E)
    H, K, D, F = config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.intermediate_size

    normed = _rms_norm(hidden, weights.input_layernorm, config.rms_norm_eps)  # (B, E)
    qkv = normed @ weights.qkv_proj.T  # (B, (H + 2K)·D)
    if weights.qkv_bias is not None:
        qkv += weights.qkv_bias
    heads = qkv.reshape(B, H + 2 * K, D)
    rotated = _apply_rope(heads[:, : H + K], *rope)  # (B, H + K, D)
    key, value = rotated[:, H:, None], heads[:, H + K :, None]  # (B, K, 1, D)
    keys, values = cache.update(key, value, layer_index)  # (B, K, S, D)

    scores = rotated[:, :H].reshape(B, K, H // K, D) @ keys.swapaxes(-1, -2)  # (B, K, G, S)
    scores *= D**-0.5
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= np.add.reduce(scores, axis=-1, keepdims=True)
    attended = (scores @ values).reshape(B, H * D) @ weights.o_proj.T  # (B, E)
    if weights.o_bias is not None:
        attended += weights.o_bias
    attended += hidden

    normed = _rms_norm(attended, weights.post_attention_layernorm, config.rms_norm_eps)  # (B, E)
    gate_up = normed @ weights.gate_up_proj.T  # (B, 2F)
    if weights.gate_up_bias is not None:
        gate_up += weights.gate_up_bias
    gate = gate_up[:, :F]  # (B, F)
    denominator = np.exp(-gate)
    denominator += 1
    gate /= denominator  # silu
    gate *= gate_up[:, F:]
    fed = gate @ weights.down_proj.T  # (B, E)
    if weights.down_bias is not None:
        fed += weights.down_bias
    fed += attended
    return fed[:, None]  # (B, 1, E)


def _rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """blocks.rms_norm of (B, E) rows, one by one: a NumPy scalar is quicker than an array that holds one number."""
    normed = np.empty_like(x)
    for row, into in zip(x, normed, strict=True):
        mean_square = np.dot(row, row) / len(row)
        np.multiply(row, 1 / np.sqrt(mean_square + float(eps)), into)
    normed *= weight
    return normed


def _apply_rope(heads: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """blocks.apply_rope of (B, N, D) heads."""
    half = heads.shape[-1] // 2
    turned = np.concatenate((-heads[..., half:], heads[..., :half]), axis=-1)
    turned *= sin
    turned += heads * cos
    return turned
