"""Decoder layer: attention moves information between tokens, the MLP works on each; both add to the residual stream.

h = h + attention(norm(h))
h = h + mlp(norm(h))
"""

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.record import Blocks
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.weights import LayerWeights
from numpy_llama.probe import probe, scope


def decoder_layer(
    hidden: np.ndarray,
    weights: LayerWeights,
    rope: tuple[np.ndarray, np.ndarray],
    mask: np.ndarray | None,
    cache: KVCache | None,
    layer_index: int,
    config: LlamaConfig,
    blocks: Blocks,
) -> np.ndarray:
    """Take the residual stream through one layer.

    hidden       (B, T, E)
    rope         cos and sin of the tokens' positions, (B, T, D) each
    mask         (B or 1, 1, T, S), or None where every token may be seen
    cache        grows by T tokens in this layer; None where no past is kept
    returns      (B, T, E), dtype of hidden
    source       LlamaDecoderLayer (pre-norm, as in GPT-2)
    """
    with scope("input_layernorm"):
        normed = blocks.rms_norm(hidden, weights.input_layernorm, config.rms_norm_eps)
    normed = probe("input_layernorm", normed)  # (B, T, E)
    with scope("self_attn"):
        attended = self_attention(normed, weights, rope, mask, cache, layer_index, config, blocks)
    hidden = probe("after_attention", hidden + probe("self_attn", attended))  # (B, T, E)

    with scope("post_attention_layernorm"):
        normed = blocks.rms_norm(hidden, weights.post_attention_layernorm, config.rms_norm_eps)
    normed = probe("post_attention_layernorm", normed)  # (B, T, E)
    with scope("mlp"):
        w = weights
        fed = blocks.mlp(normed, w.gate_proj, w.up_proj, w.down_proj, w.gate_bias, w.up_bias, w.down_bias)
    return hidden + probe("mlp", fed)  # (B, T, E)


def self_attention(
    x: np.ndarray,
    weights: LayerWeights,
    rope: tuple[np.ndarray, np.ndarray],
    mask: np.ndarray | None,
    cache: KVCache | None,
    layer_index: int,
    config: LlamaConfig,
    blocks: Blocks,
) -> np.ndarray:
    """Project to queries, keys and values, rotate, attend over past and present, project back.

    x        (B, T, E), normed
    returns  (B, T, E), dtype of x
    source   LlamaAttention
    """
    query = probe("q_proj", blocks.linear(x, weights.q_proj, weights.q_bias))  # (B, T, H·D)
    key = probe("k_proj", blocks.linear(x, weights.k_proj, weights.k_bias))  # (B, T, K·D)
    value = probe("v_proj", blocks.linear(x, weights.v_proj, weights.v_bias))  # (B, T, K·D)

    D = config.head_dim
    query = _split_heads(query, D)  # (B, H, T, D)
    key = _split_heads(key, D)  # (B, K, T, D)
    value = _split_heads(value, D)  # (B, K, T, D)

    query = probe("query_rotated", blocks.apply_rope(query, *rope))  # (B, H, T, D)
    key = probe("key_rotated", blocks.apply_rope(key, *rope))  # (B, K, T, D)
    if cache is not None:
        key, value = cache.update(key, value, layer_index)  # (B, K, S, D)
    key, value = probe("keys", key), probe("values", value)

    context = blocks.attention(query, key, value, mask)  # (B, H, T, D)
    return probe("o_proj", blocks.linear(_join_heads(context), weights.o_proj, weights.o_bias))  # (B, T, E)


def _split_heads(x: np.ndarray, head_dim: int) -> np.ndarray:
    """(B, T, H·D) → (B, H, T, D)"""
    B, T, _ = x.shape
    return x.reshape(B, T, -1, head_dim).swapaxes(1, 2)


def _join_heads(x: np.ndarray) -> np.ndarray:
    """(B, H, T, D) → (B, T, H·D)"""
    B, H, T, D = x.shape
    return x.swapaxes(1, 2).reshape(B, T, H * D)
