"""A whole Llama on one page, slow and plain, in float64: the truth that a whole model is held to.

    logits = plain_forward(config, weights, input_ids)                     # (B, T, V)

It is written from the papers' formulas, one row of the batch after the other, one head, one token, and shares no code
with the blocks that it judges. It knows no cache: a text that a model is given in pieces is one text here. That comes
to the same but for the rope types dynamic and longrope past their threshold, whose frequencies depend on a call's
length.
"""

import math
from collections.abc import Mapping

import numpy as np

from numpy_llama.model.config import LlamaConfig

Array = np.ndarray


def plain_forward(
    config: LlamaConfig,
    weights: Mapping[str, Array],
    input_ids: Array,
    attention_mask: Array | None = None,
    position_ids: Array | None = None,
) -> Array:
    """Logits of whole texts.

    weights         as LlamaForCausalLM's, any dtype; computed with in float64
    input_ids       (B, T)
    attention_mask  (B, T), 1 for a token, 0 for padding; None where nothing is padded
    position_ids    (B or 1, T); 0 … T − 1 unless given
    returns         (B, T, V), float64; rows of padding are whatever they are
    source          Vaswani et al. 2017 (attention), Ainslie et al. 2023 (GQA), Shazeer 2020 (SwiGLU), Zhang & Sennrich
                    2019 (RMSNorm), Su et al. 2021 (RoPE) and, for its types, the papers that model/rope_types.py names
    """
    given = {name: array.astype(np.float64) for name, array in weights.items()}
    B, T = input_ids.shape
    seen = np.ones((B, T), bool) if attention_mask is None else attention_mask.astype(bool)
    positions = np.arange(T)[None] if position_ids is None else np.asarray(position_ids)
    positions = np.broadcast_to(positions, (B, T))
    turn = frequencies(config, int(positions.max()) + 1)  # (D/2,)
    head = given["model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"]

    logits = np.zeros((B, T, config.vocab_size))
    for b in range(B):
        h = given["model.embed_tokens.weight"][input_ids[b]]  # (T, E)
        for layer in range(config.num_hidden_layers):
            w = _below(given, f"model.layers.{layer}.")
            normed = _norm(h, w["input_layernorm.weight"], config)
            h = h + _attention(config, w, normed, seen[b], positions[b][:, None] * turn)
            h = h + _mlp(config, w, _norm(h, w["post_attention_layernorm.weight"], config))
        logits[b] = _norm(h, given["model.norm.weight"], config) @ head.T
    return logits


def _norm(h: Array, weight: Array, config: LlamaConfig) -> Array:
    """y = x / √(mean x² + eps) · w, for each row of h."""
    return np.array([x / math.sqrt((x @ x) / len(x) + config.rms_norm_eps) * weight for x in h])


def _attention(config: LlamaConfig, w: Mapping[str, Array], x: Array, seen: Array, angles: Array) -> Array:
    """Σ_s p_ts v_s for each head, joined and projected; p_ts ∝ exp(q_t · k_s / √D) for s ≤ t that are no padding."""
    H, K, D, T = config.num_attention_heads, config.num_key_value_heads, config.head_dim, len(x)
    q, k, v = (_linear(w, f"self_attn.{name}_proj", x) for name in "qkv")
    joined = np.zeros((T, H * D))
    for head in range(H):
        shared = head // (H // K)  # the key/value head that this one reads
        query = q[:, head * D : (head + 1) * D]
        key = k[:, shared * D : (shared + 1) * D]
        value = v[:, shared * D : (shared + 1) * D]
        query, key = _turned(query, angles), _turned(key, angles)
        factor = attention_factor(config) ** 2 / math.sqrt(D)
        for t in range(T):
            before = [s for s in range(t + 1) if seen[s]]
            if before:
                scores = np.array([query[t] @ key[s] * factor for s in before])
                p = np.exp(scores - scores.max())
                joined[t, head * D : (head + 1) * D] = (p / p.sum()) @ value[before]
    return _linear(w, "self_attn.o_proj", joined)


def _turned(x: Array, angles: Array) -> Array:
    """Channel i and channel i + D/2 of a token are one point of the plane, turned by its angle i."""
    D = x.shape[-1]
    z = (x[:, : D // 2] + 1j * x[:, D // 2 :]) * np.exp(1j * angles)
    return np.concatenate((z.real, z.imag), axis=-1)


def _mlp(config: LlamaConfig, w: Mapping[str, Array], x: Array) -> Array:
    """y = W_down (act(W_gate x) ⊙ W_up x)"""
    gate, up = _linear(w, "mlp.gate_proj", x), _linear(w, "mlp.up_proj", x)
    return _linear(w, "mlp.down_proj", _ACTIVATIONS[str(config.hidden_act)](gate) * up)


def _linear(w: Mapping[str, Array], name: str, x: Array) -> Array:
    """W x + b for each row of x."""
    return np.einsum("oi,ti->to", w[f"{name}.weight"], x) + w.get(f"{name}.bias", 0.0)


def _below(given: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in given.items() if name.startswith(prefix)}


def _gelu(x: Array) -> Array:
    """x Φ(x)"""
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def _tanh_gelu(x: Array) -> Array:
    """GELU, approximated (Hendrycks & Gimpel 2016)"""
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


_ACTIVATIONS = {"silu": lambda x: x / (1 + np.exp(-x)), "gelu": _gelu, "gelu_pytorch_tanh": _tanh_gelu}


# -- how fast pairs turn ---------------------------------------------------------------------------------------


def frequencies(config: LlamaConfig, tokens: int) -> Array:
    """(D/2,) radians per token, in a text of so many tokens."""
    given, D = config.rope_parameters, config.head_dim
    kind, theta, factor = given["rope_type"], given["rope_theta"], given.get("factor", 1.0)
    trained = given.get("original_max_position_embeddings", config.max_position_embeddings)
    if kind == "dynamic" and tokens > trained:
        theta *= (factor * tokens / trained - (factor - 1)) ** (D / (D - 2))
    turn = np.array([theta ** (-2 * i / D) for i in range(D // 2)])
    keep: Array | float  # how much of each frequency stays as it is; the rest becomes `factor` times slower
    if kind in ("default", "dynamic"):
        keep = 1.0
    elif kind == "linear":
        keep = 0.0
    elif kind == "longrope":
        return turn / np.array(given["long_factor" if tokens > trained else "short_factor"])
    elif kind == "proportional":
        turns = np.arange(D // 2) < int(given.get("partial_rotary_factor", 1.0) * (D // 2))
        return turn * turns / factor
    elif kind == "llama3":  # by how often a pair turns in the context that was trained
        low, high = given["low_freq_factor"], given["high_freq_factor"]
        keep = np.clip((trained * turn / (2 * math.pi) - low) / (high - low), 0, 1)
    else:  # yarn: by the number of the pair, between those that turn beta_fast and beta_slow times
        first, last = (
            D * math.log(trained / (times * 2 * math.pi)) / (2 * math.log(theta))
            for times in (given.get("beta_fast", 32), given.get("beta_slow", 1))
        )
        first, last = max(math.floor(first), 0), min(math.ceil(last), D - 1)
        keep = 1 - np.clip((np.arange(D // 2) - first) / max(last - first, 1e-3), 0, 1)
    return keep * turn + (1 - keep) * turn / factor


def attention_factor(config: LlamaConfig) -> float:
    """What queries and keys are multiplied by, each: 1 but for yarn and longrope."""
    given = config.rope_parameters
    if given["rope_type"] == "yarn":
        return 0.1 * math.log(given["factor"]) + 1
    if given["rope_type"] == "longrope":
        return math.sqrt(1 + math.log(given["factor"]) / math.log(given["original_max_position_embeddings"]))
    return 1.0
