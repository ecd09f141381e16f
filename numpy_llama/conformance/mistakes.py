"""The classic mistakes of ports of Llama: each is planted by the tests, and must be caught by the properties of its
block.

    mistake = MISTAKES["eps outside the root"]
    port = mistake.planted(Port())

A student whose numbers are those of a mistake is told its name. A new mistake is one small function, whose docstring is
its name, and one line of the table at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpy_llama.blocks.activations import silu
from numpy_llama.blocks.attention import attention
from numpy_llama.blocks.causal_mask import causal_mask
from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.linear import linear
from numpy_llama.blocks.rms_norm import rms_norm
from numpy_llama.blocks.rope import apply_rope, rope_frequencies, rope_tables, rotate_half
from numpy_llama.blocks.sampler import greedy, sample
from numpy_llama.blocks.sampling_rules import (
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    scale_temperature,
)
from numpy_llama.blocks.softmax import softmax
from numpy_llama.conformance.port import Port
from numpy_llama.precision import widen

Array = np.ndarray


@dataclass(frozen=True)
class Mistake:
    """One function done wrong.

    name   a few words: "eps outside the root"
    field  the field of Port it stands in: "rms_norm"
    wrong  the function that makes the mistake
    """

    name: str
    field: str
    wrong: Callable[..., Any]

    def planted(self, port: Port) -> Port:
        """The port with this mistake in it."""
        return port.swap(**{self.field: self.wrong})


# -- embedding -----------------------------------------------------------------------------------------------


def embedding_off_by_one(input_ids: Array, weight: Array) -> Array:
    """ids off by one"""
    return weight[(input_ids + 1) % len(weight)]


def embedding_of_columns(input_ids: Array, weight: Array) -> Array:
    """columns of the table instead of rows"""
    return np.take(weight, input_ids % weight.shape[1], axis=1).transpose(1, 2, 0)


def embedding_scaled(input_ids: Array, weight: Array) -> Array:
    """embedding scaled by √E"""
    return weight[input_ids] * weight.dtype.type(weight.shape[1] ** 0.5)  # Gemma does this, Llama doesn't


def embedding_widened(input_ids: Array, weight: Array) -> Array:
    """embedding widened to float64"""
    return weight[input_ids].astype(np.float64)


# -- linear --------------------------------------------------------------------------------------------------


def linear_with_weight_as_stored(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """weight taken as (inputs, outputs)"""
    return linear(x, weight.T, bias)


def linear_without_bias(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """bias left out"""
    return linear(x, weight)


def linear_in_two_bytes(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """products added up in two bytes"""
    y = np.zeros((*x.shape[:-1], len(weight)), x.dtype)
    for i in range(x.shape[-1]):
        y = y + x[..., i, None] * weight[:, i]
    return y if bias is None else y + bias


def linear_not_rounded_back(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """product not rounded back to the dtype"""
    return widen(x) @ widen(weight).T + (0 if bias is None else widen(bias))


# -- RMSNorm -------------------------------------------------------------------------------------------------


def norm_eps_outside_root(x: Array, weight: Array, eps: float) -> Array:
    """eps outside the root"""
    wide = widen(x)
    root = np.sqrt(np.square(wide).mean(axis=-1, keepdims=True))
    return weight * (wide / (root + wide.dtype.type(eps))).astype(x.dtype)


def norm_without_eps(x: Array, weight: Array, eps: float) -> Array:
    """eps left out"""
    return rms_norm(x, weight, 0.0)


def norm_eps_after_the_fact(x: Array, weight: Array, eps: float) -> Array:
    """eps added to the result"""
    return rms_norm(x, weight, 0.0) + x.dtype.type(eps)


def norm_eps_squared(x: Array, weight: Array, eps: float) -> Array:
    """eps squared"""
    return rms_norm(x, weight, eps * eps)


def norm_with_mean_taken_off(x: Array, weight: Array, eps: float) -> Array:
    """mean subtracted, as in LayerNorm"""
    wide = widen(x)
    return rms_norm((wide - wide.mean(axis=-1, keepdims=True)).astype(x.dtype), weight, eps)


def norm_without_weight(x: Array, weight: Array, eps: float) -> Array:
    """weight left out"""
    return rms_norm(x, np.ones_like(weight), eps)


def norm_with_one_plus_weight(x: Array, weight: Array, eps: float) -> Array:
    """1 + weight, as in Gemma"""
    return rms_norm(x, weight + weight.dtype.type(1), eps)  # Gemma stores its weights that way


def norm_with_weight_under_the_root(x: Array, weight: Array, eps: float) -> Array:
    """weight multiplied in before the norm"""
    return rms_norm(x * weight, np.ones_like(weight), eps)


def norm_by_sum(x: Array, weight: Array, eps: float) -> Array:
    """sum of squares instead of their mean"""
    wide = widen(x)
    total = np.square(wide).sum(axis=-1, keepdims=True)
    return weight * (wide / np.sqrt(total + wide.dtype.type(eps))).astype(x.dtype)


def norm_without_root(x: Array, weight: Array, eps: float) -> Array:
    """root left out"""
    wide = widen(x)
    return weight * (wide / (np.square(wide).mean(axis=-1, keepdims=True) + wide.dtype.type(eps))).astype(x.dtype)


def norm_by_mean_size(x: Array, weight: Array, eps: float) -> Array:
    """mean of |x| instead of root mean square"""
    wide = widen(x)
    return weight * (wide / (np.abs(wide).mean(axis=-1, keepdims=True) + wide.dtype.type(eps))).astype(x.dtype)


def norm_over_all_axes(x: Array, weight: Array, eps: float) -> Array:
    """mean over the whole array"""
    wide = widen(x)
    return weight * (wide / np.sqrt(np.square(wide).mean() + wide.dtype.type(eps))).astype(x.dtype)


def norm_over_tokens(x: Array, weight: Array, eps: float) -> Array:
    """mean over the tokens instead of the channels"""
    wide = widen(x)
    mean_square = np.square(wide).mean(axis=-2 if x.ndim > 1 else -1, keepdims=True)
    return weight * (wide / np.sqrt(mean_square + wide.dtype.type(eps))).astype(x.dtype)


def norm_multiplied_by_root(x: Array, weight: Array, eps: float) -> Array:
    """multiplied by the root instead of divided"""
    wide = widen(x)
    return weight * (wide * np.sqrt(np.square(wide).mean(axis=-1, keepdims=True) + wide.dtype.type(eps))).astype(
        x.dtype
    )


def norm_in_two_bytes(x: Array, weight: Array, eps: float) -> Array:
    """mean of squares taken in two bytes"""
    total = np.zeros((*x.shape[:-1], 1), x.dtype)
    for i in range(x.shape[-1]):
        total = total + x[..., i, None] * x[..., i, None]
    mean_square = total / x.dtype.type(x.shape[-1])
    return weight * (x / np.sqrt(mean_square + x.dtype.type(eps)))


def norm_to_float64(x: Array, weight: Array, eps: float) -> Array:
    """norm promoted to float64"""
    x = x.astype(np.float64)
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + np.float64(eps)) * weight.astype(np.float64)


# -- RoPE ----------------------------------------------------------------------------------------------------


def frequencies_from_half_the_exponent(head_dim: int, theta: float, dtype: np.dtype) -> Array:
    """exponent −i/D instead of −2i/D"""
    frequencies = rope_frequencies(head_dim, theta, dtype)
    return np.sqrt(frequencies)  # θ^(−i/D) instead of θ^(−2i/D)


def frequencies_upside_down(head_dim: int, theta: float, dtype: np.dtype) -> Array:
    """frequencies upside down"""
    return 1 / rope_frequencies(head_dim, theta, dtype)


def frequencies_with_theta_fixed(head_dim: int, theta: float, dtype: np.dtype) -> Array:
    """theta fixed at 10,000"""
    return rope_frequencies(head_dim, 10000.0, dtype)


def frequencies_in_double(head_dim: int, theta: float, dtype: np.dtype) -> Array:
    """frequencies in float64"""
    return rope_frequencies(head_dim, theta, np.dtype(np.float64))


def frequencies_in_two_bytes(head_dim: int, theta: float, dtype: np.dtype) -> Array:
    """frequencies in two bytes"""
    return rope_frequencies(head_dim, theta, dtype).astype(dtype)


def tables_one_position_late(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """positions off by one"""
    return rope_tables(position_ids + 1, frequencies, dtype, attention_scaling)


def tables_from_zero_every_call(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """positions from zero in every call"""
    return rope_tables(position_ids - position_ids[:, :1], frequencies, dtype, attention_scaling)


def tables_of_the_first_row(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """positions of the first row for all"""
    return rope_tables(position_ids[:1], frequencies, dtype, attention_scaling)


def tables_swapped(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """cos and sin swapped"""
    cos, sin = rope_tables(position_ids, frequencies, dtype, attention_scaling)
    return sin, cos


def tables_in_double(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """tables in float64"""
    return rope_tables(position_ids, frequencies, np.dtype(np.float64), attention_scaling)


def tables_from_two_byte_angles(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """angles in two bytes"""
    angles = (position_ids[..., None].astype(dtype) * frequencies.astype(dtype)).astype(frequencies.dtype)
    angles = np.concatenate((angles, angles), axis=-1)
    scaling = frequencies.dtype.type(attention_scaling)
    return (np.cos(angles) * scaling).astype(dtype), (np.sin(angles) * scaling).astype(dtype)


def tables_without_scaling(
    position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
) -> tuple[Array, Array]:
    """attention scaling of the tables left out"""
    return rope_tables(position_ids, frequencies, dtype)


def rope_of_neighbours(x: Array, cos: Array, sin: Array) -> Array:
    """neighbouring channels paired (Meta's layout)"""
    half = x.shape[-1] // 2
    cos, sin = np.repeat(cos[..., :half], 2, axis=-1)[:, None], np.repeat(sin[..., :half], 2, axis=-1)[:, None]
    turned = np.stack((-x[..., 1::2], x[..., ::2]), axis=-1).reshape(x.shape)
    return x * cos + turned * sin


def rope_backwards(x: Array, cos: Array, sin: Array) -> Array:
    """rotation the other way"""
    return apply_rope(x, cos, -sin)


def rope_without_minus(x: Array, cos: Array, sin: Array) -> Array:
    """minus of rotate_half left out"""
    return x * cos[:, None] + np.roll(x, x.shape[-1] // 2, axis=-1) * sin[:, None]


def rope_left_out(x: Array, cos: Array, sin: Array) -> Array:
    """rotation left out"""
    return x


def rope_twice(x: Array, cos: Array, sin: Array) -> Array:
    """rotated twice"""
    return apply_rope(apply_rope(x, cos, sin), cos, sin)


def rope_by_head(x: Array, cos: Array, sin: Array) -> Array:
    """rotated by head instead of by token"""
    H, T = x.shape[1:3]
    order = np.arange(H) % T  # tables laid along the heads' axis instead of the tokens'
    cos, sin = cos[:, order, None], sin[:, order, None]
    return x * cos + rotate_half(x) * sin


# -- causal mask ---------------------------------------------------------------------------------------------


def mask_hides_the_token_itself(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """a token doesn't see itself"""
    mask = np.array(causal_mask(new, total, dtype, attention_mask))
    mask[..., np.arange(new), np.arange(total - new, total)] = causal_mask(2, 2, dtype)[0, 0, 0, 1]
    return mask


def mask_shows_one_to_come(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """a token sees the next one"""
    visible = np.arange(total) <= np.arange(total - new, total)[:, None] + 1
    return np.where(visible, dtype.type(0), causal_mask(new, total, dtype, attention_mask))


def mask_transposed(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """mask upper triangular"""
    return causal_mask(new, total, dtype, attention_mask)[..., ::-1, ::-1]


def mask_forgets_the_past(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """mask forgets the cached tokens"""
    visible = np.arange(total) <= np.arange(new)[:, None]  # rows counted from 0, as if nothing were cached
    closed = causal_mask(2, 2, dtype)[0, 0, 0, 1]
    return np.minimum(causal_mask(new, total, dtype, attention_mask), np.where(visible, dtype.type(0), closed))


def mask_open(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """nothing masked"""
    return np.zeros_like(causal_mask(new, total, dtype, attention_mask))


def mask_ignores_padding(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """padding not masked"""
    rows = 1 if attention_mask is None else len(attention_mask)
    return np.repeat(causal_mask(new, total, dtype), rows, axis=0)


def mask_inverts_padding(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """padding mask upside down"""
    return causal_mask(new, total, dtype, None if attention_mask is None else 1 - attention_mask)


def mask_of_ones(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """mask of −1"""
    return np.where(causal_mask(new, total, dtype, attention_mask) == 0, dtype.type(0), dtype.type(-1))


def mask_of_infinity(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """mask of −∞"""
    return np.where(causal_mask(new, total, dtype, attention_mask) == 0, dtype.type(0), dtype.type(-np.inf))


def mask_in_double(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
    """mask in float64"""
    return causal_mask(new, total, dtype, attention_mask).astype(np.float64)


# -- softmax -------------------------------------------------------------------------------------------------


def softmax_over_queries(scores: Array) -> Array:
    """softmax over the queries"""
    return softmax(scores.swapaxes(-1, -2)).swapaxes(-1, -2) if scores.ndim > 1 else softmax(scores)


def softmax_over_everything(scores: Array) -> Array:
    """softmax over the whole array"""
    return softmax(scores.reshape(1, -1)).reshape(scores.shape)


def softmax_without_maximum(scores: Array) -> Array:
    """maximum not taken off"""
    exponentials = np.exp(widen(scores))
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(scores.dtype)


def softmax_with_one_more(scores: Array) -> Array:
    """softmax with 1 + Σ"""
    wide = widen(scores)
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return (exponentials / (1 + exponentials.sum(axis=-1, keepdims=True))).astype(scores.dtype)


def softmax_base_two(scores: Array) -> Array:
    """powers of two instead of e"""
    return softmax((widen(scores) * np.float32(np.log(2))).astype(scores.dtype))


def softmax_of_the_negative(scores: Array) -> Array:
    """softmax of −x"""
    return softmax(-scores)


def softmax_in_two_bytes(scores: Array) -> Array:
    """softmax in two bytes"""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    total = np.zeros((*scores.shape[:-1], 1), scores.dtype)
    for i in range(scores.shape[-1]):
        total = total + exponentials[..., i, None]
    return exponentials / total


def softmax_not_rounded_back(scores: Array) -> Array:
    """softmax not rounded back to the dtype"""
    return softmax(widen(scores))


# -- attention -----------------------------------------------------------------------------------------------


def attention_heads_tiled(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """key/value heads tiled instead of repeated"""
    groups = query.shape[1] // key.shape[1]
    return attention(query, np.tile(key, (1, groups, 1, 1)), np.tile(value, (1, groups, 1, 1)), mask, scaling)


def attention_unscaled(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """scores not scaled"""
    return attention(query, key, value, mask, 1.0)


def attention_scaled_by_width(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """scores scaled by 1/√E"""
    width = query.shape[1] * query.shape[3]
    return attention(query, key, value, mask, width**-0.5 if scaling is None else scaling)  # 1/√E instead of 1/√D


def attention_scaled_by_head_dim(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """scores scaled by 1/D"""
    return attention(query, key, value, mask, 1 / query.shape[-1] if scaling is None else scaling)


def attention_without_mask(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """mask not used"""
    return attention(query, key, value, None, scaling)


def attention_masked_after_softmax(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """masked after the softmax"""
    if mask is None:
        return attention(query, key, value, None, scaling)
    cut = lambda scores: np.where(mask == 0, softmax(scores), scores.dtype.type(0))  # noqa: E731
    return attention(query, key, value, None, scaling, softmax=cut)


def attention_over_queries(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """attention normalised over the queries"""
    return attention(query, key, value, mask, scaling, softmax=softmax_over_queries)


def attention_keys_for_values(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """keys and values swapped"""
    return attention(query, value, key, mask, scaling)


def attention_heads_mixed_up(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """heads reshaped instead of transposed"""
    context = attention(query, key, value, mask, scaling)
    B, H, T, D = context.shape
    return context.swapaxes(1, 2).reshape(B, H, T, D)  # reshaped where it should have been transposed back


def attention_first_key_value_head_for_all(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """first key/value head for all queries"""
    return attention(query, key[:, :1], value[:, :1], mask, scaling)


def attention_keys_reversed(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """keys in another order than values"""
    return attention(query, key[:, :, ::-1], value, mask, scaling)


def attention_to_the_first_row(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """keys of the first row for the whole batch"""
    return attention(query, np.broadcast_to(key[:1], key.shape), value, mask, scaling)


def attention_in_double(
    query: Array, key: Array, value: Array, mask: Array | None = None, scaling: float | None = None
) -> Array:
    """attention promoted to float64"""
    wide_mask = None if mask is None else mask.astype(np.float64)
    return attention(query.astype(np.float64), key.astype(np.float64), value.astype(np.float64), wide_mask, scaling)


# -- activation and MLP --------------------------------------------------------------------------------------


def activation_sigmoid(x: Array) -> Array:
    """sigmoid instead of silu"""
    return (1 / (1 + np.exp(-widen(x)))).astype(x.dtype)


def activation_relu(x: Array) -> Array:
    """relu instead of silu"""
    return np.maximum(x, x.dtype.type(0))


def activation_gelu(x: Array) -> Array:
    """gelu instead of silu"""
    wide = widen(x)
    inner = np.sqrt(2 / np.pi).astype(wide.dtype) * (wide + wide.dtype.type(0.044715) * wide**3)
    return (wide * (1 + np.tanh(inner)) / 2).astype(x.dtype)


def activation_quick_gelu(x: Array) -> Array:
    """quick gelu instead of silu"""
    wide = widen(x)
    return (wide / (1 + np.exp(wide.dtype.type(-1.702) * wide))).astype(x.dtype)


def activation_sign_slip(x: Array) -> Array:
    """exp(x) instead of exp(−x)"""
    wide = widen(x)
    return (wide / (1 + np.exp(wide))).astype(x.dtype)


def activation_overflows(x: Array) -> Array:
    """silu that overflows"""
    wide = widen(x)
    return (wide * np.exp(wide) / (1 + np.exp(wide))).astype(x.dtype)


def activation_in_double(x: Array) -> Array:
    """silu promoted to float64"""
    return silu(x.astype(np.float64))


def mlp_gate_and_up_swapped(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """gate and up swapped"""
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    return _mlp(x, up, gate, down, up_bias, gate_bias, down_bias)


def mlp_without_activation(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """activation left out"""
    return _mlp(x, gate, up, down, *biases, activation=lambda h: h)


def mlp_activation_after_product(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """activation after the product"""
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    return linear(silu(linear(x, gate, gate_bias) * linear(x, up, up_bias)), down, down_bias)


def mlp_adds_gate_and_up(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """gate and up added"""
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    return linear(silu(linear(x, gate, gate_bias)) + linear(x, up, up_bias), down, down_bias)


def mlp_without_up(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """up_proj left out"""
    gate_bias, _, down_bias = biases or (None, None, None)
    return linear(silu(linear(x, gate, gate_bias)), down, down_bias)


def mlp_adds_its_input(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """residual added inside the MLP"""
    return x + _mlp(x, gate, up, down, *biases)


def mlp_up_in_another_order(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """up_proj in another order than gate_proj"""
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    return _mlp(x, gate, up[::-1], down, gate_bias, None if up_bias is None else up_bias[::-1], down_bias)


def mlp_of_the_first_token(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """gate of the first token for all"""
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    return linear(silu(linear(x[:, :1], gate, gate_bias)) * linear(x, up, up_bias), down, down_bias)


def mlp_in_double(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """MLP promoted to float64"""
    return _mlp(x, gate, up, down, *biases).astype(np.float64)


def mlp_without_biases(x: Array, gate: Array, up: Array, down: Array, *biases: Array | None) -> Array:
    """biases of the MLP left out"""
    return _mlp(x, gate, up, down)


def _mlp(
    x: Array,
    gate: Array,
    up: Array,
    down: Array,
    gate_bias: Array | None = None,
    up_bias: Array | None = None,
    down_bias: Array | None = None,
    *,
    activation: Callable[[Array], Array] = silu,
) -> Array:
    return linear(activation(linear(x, gate, gate_bias)) * linear(x, up, up_bias), down, down_bias)


# -- KV cache ------------------------------------------------------------------------------------------------


def cache_newest_first(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """newest tokens first"""
    held = cache._layers[layer_index]
    past = (held.keys[:, :, : held.length].copy(), held.values[:, :, : held.length].copy())
    keys, values = (a.copy() for a in KVCache.update(cache, key, value, layer_index))
    if past[0].size:
        keys, values = np.concatenate((key, past[0]), axis=2), np.concatenate((value, past[1]), axis=2)
    return keys, values


def cache_forgets_the_past(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """past tokens forgotten"""
    KVCache.update(cache, key, value, layer_index)
    return key, value


def cache_shared_by_layers(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """one cache for all layers"""
    return KVCache.update(cache, key, value, 0)


def cache_stores_keys_as_values(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """keys stored as values"""
    return KVCache.update(cache, key, key, layer_index)


def cache_in_double(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """cache in float64"""
    return KVCache.update(cache, key.astype(np.float64), value.astype(np.float64), layer_index)


def cache_returns_room_to_grow(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """free room returned with the tokens"""
    KVCache.update(cache, key, value, layer_index)
    return cache._layers[layer_index].keys, cache._layers[layer_index].values


def cache_overwrites_the_last(cache: KVCache, key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
    """last token overwritten"""
    cache._layers[layer_index].length = max(cache._layers[layer_index].length - 1, 0)
    return KVCache.update(cache, key, value, layer_index)


def _cache_with(update: Callable[..., Any]) -> type[KVCache]:
    return type("WrongCache", (KVCache,), {"update": update, "__doc__": update.__doc__})


# -- sampler -------------------------------------------------------------------------------------------------


def greedy_last_of_equals(logits: Array) -> Array:
    """last of equal logits"""
    return logits.shape[-1] - 1 - greedy(logits[:, ::-1])


def greedy_least(logits: Array) -> Array:
    """least likely token"""
    return greedy(-logits)


def sample_of_logits(logits: Array, uniforms: Array) -> Array:
    """softmax taken twice"""
    return sample(softmax(logits), uniforms)  # softmax taken twice


def sample_one_further(logits: Array, uniforms: Array) -> Array:
    """the token after the one drawn"""
    return np.minimum(sample(logits, uniforms) + 1, logits.shape[-1] - 1)


def sample_with_border_included(logits: Array, uniforms: Array) -> Array:
    """border counted to the wrong token"""
    cumulative = softmax(logits.astype(np.float64)).cumsum(axis=-1)
    return (cumulative < np.asarray(uniforms)[:, None]).sum(axis=-1)  # < for ≤: with u = 0, token 0 even if ruled out


def sample_from_the_other_end(logits: Array, uniforms: Array) -> Array:
    """cumulative sum from the other end"""
    return logits.shape[-1] - 1 - sample(logits[:, ::-1], uniforms)


def sample_greedily(logits: Array, uniforms: Array) -> Array:
    """greedy instead of a draw"""
    return greedy(logits)


def sample_with_one_number_for_all(logits: Array, uniforms: Array) -> Array:
    """one random number for all rows"""
    return sample(logits, np.full(len(logits), np.asarray(uniforms)[0]))


def temperature_multiplied(logits: Array, temperature: float) -> Array:
    """multiplied by the temperature"""
    return logits * logits.dtype.type(temperature)


def temperature_on_probabilities(logits: Array, temperature: float) -> Array:
    """temperature on probabilities"""
    return softmax(logits) / logits.dtype.type(temperature)


def top_k_one_too_few(logits: Array, top_k: int) -> Array:
    """top-k keeps one too few"""
    return keep_top_k(logits, max(top_k - 1, 1))


def top_k_least_likely(logits: Array, top_k: int) -> Array:
    """top-k keeps the least likely"""
    return -keep_top_k(-logits, top_k)


def top_k_exactly_k(logits: Array, top_k: int) -> Array:
    """top-k breaks ties"""
    order = np.argsort(-logits, axis=-1, kind="stable")[:, :top_k]
    kept = np.full_like(logits, -np.inf)
    np.put_along_axis(kept, order, np.take_along_axis(logits, order, axis=-1), axis=-1)
    return kept  # of equal logits it keeps the lowest ids alone


def top_k_set_to_zero(logits: Array, top_k: int) -> Array:
    """top-k sets logits to zero"""
    kept = keep_top_k(logits, top_k)
    return np.where(np.isinf(kept), logits.dtype.type(0), kept)


def top_p_stops_short(logits: Array, top_p: float) -> Array:
    """top-p stops short of p"""
    order = np.argsort(-logits, axis=-1, kind="stable")
    cumulative = softmax(np.take_along_axis(logits, order, axis=-1)).cumsum(axis=-1)
    removed = np.empty(logits.shape, bool)
    np.put_along_axis(
        removed, order, cumulative > logits.dtype.type(top_p), axis=-1
    )  # the token that reaches p goes, too
    return np.where(removed, logits.dtype.type(-np.inf), logits)


def top_p_one_too_many(logits: Array, top_p: float) -> Array:
    """top-p keeps one too many"""
    kept = keep_top_p(logits, top_p)
    next_one = np.where(np.isinf(kept), logits, -np.inf).argmax(axis=-1)[:, None]
    np.put_along_axis(kept, next_one, np.take_along_axis(logits, next_one, axis=-1), axis=-1)
    return kept


def top_p_without_sorting(logits: Array, top_p: float) -> Array:
    """top-p without sorting"""
    before = softmax(logits).cumsum(axis=-1) - softmax(logits)
    return np.where(before < logits.dtype.type(top_p), logits, logits.dtype.type(-np.inf))


def min_p_absolute(logits: Array, min_p: float) -> Array:
    """min-p as an absolute share"""
    likely = softmax(logits) >= logits.dtype.type(min_p)
    return np.where(likely, logits, logits.dtype.type(-np.inf))


def min_p_of_logits(logits: Array, min_p: float) -> Array:
    """min-p on logits"""
    return np.where(logits >= logits.dtype.type(min_p) * logits.max(), logits, logits.dtype.type(-np.inf))


def min_p_drops_the_likeliest(logits: Array, min_p: float) -> Array:
    """min-p drops the likeliest"""
    return np.where(np.isinf(keep_min_p(logits, min_p)), logits, logits.dtype.type(-np.inf))


def penalty_divides_negative_logits(logits: Array, seen_ids: Array, penalty: float) -> Array:
    """negative logits divided by the penalty"""
    penalized = logits.copy()
    seen = np.take_along_axis(logits, seen_ids, axis=-1)
    np.put_along_axis(penalized, seen_ids, seen / logits.dtype.type(penalty), axis=-1)
    return penalized


def penalty_for_every_time(logits: Array, seen_ids: Array, penalty: float) -> Array:
    """penalty for every time a token was there"""
    for i in range(seen_ids.shape[1]):
        logits = penalize_repetition(logits, seen_ids[:, i : i + 1], penalty)
    return logits


def penalty_as_reward(logits: Array, seen_ids: Array, penalty: float) -> Array:
    """penalty that rewards"""
    return penalize_repetition(logits, seen_ids, 1 / penalty)


def penalty_for_all_rows(logits: Array, seen_ids: Array, penalty: float) -> Array:
    """penalty for the tokens of other rows"""
    everywhere = np.broadcast_to(seen_ids.reshape(1, -1), (len(logits), seen_ids.size))
    return penalize_repetition(logits, everywhere, penalty)


def penalty_in_place(logits: Array, seen_ids: Array, penalty: float) -> Array:
    """penalty written into the logits"""
    logits[:] = penalize_repetition(logits, seen_ids, penalty)
    return logits


def temperature_in_double(logits: Array, temperature: float) -> Array:
    """temperature promotes to float64"""
    return scale_temperature(logits.astype(np.float64), temperature)


def top_p_in_double(logits: Array, top_p: float) -> Array:
    """top-p promotes to float64"""
    return keep_top_p(logits.astype(np.float64), top_p)


# -- the table -----------------------------------------------------------------------------------------------

_WRONG: dict[str, tuple[Callable[..., Any], ...]] = {
    "embedding": (
        embedding_off_by_one,
        embedding_of_columns,
        embedding_scaled,
        embedding_widened,
    ),
    "linear": (
        linear_with_weight_as_stored,
        linear_without_bias,
        linear_in_two_bytes,
        linear_not_rounded_back,
    ),
    "rms_norm": (
        norm_eps_outside_root,
        norm_without_eps,
        norm_eps_after_the_fact,
        norm_eps_squared,
        norm_with_mean_taken_off,
        norm_without_weight,
        norm_with_one_plus_weight,
        norm_with_weight_under_the_root,
        norm_by_sum,
        norm_without_root,
        norm_by_mean_size,
        norm_over_all_axes,
        norm_over_tokens,
        norm_multiplied_by_root,
        norm_in_two_bytes,
        norm_to_float64,
    ),
    "rope_frequencies": (
        frequencies_from_half_the_exponent,
        frequencies_upside_down,
        frequencies_with_theta_fixed,
        frequencies_in_double,
        frequencies_in_two_bytes,
    ),
    "rope_tables": (
        tables_one_position_late,
        tables_from_zero_every_call,
        tables_of_the_first_row,
        tables_swapped,
        tables_in_double,
        tables_from_two_byte_angles,
        tables_without_scaling,
    ),
    "apply_rope": (
        rope_of_neighbours,
        rope_backwards,
        rope_without_minus,
        rope_left_out,
        rope_twice,
        rope_by_head,
    ),
    "causal_mask": (
        mask_hides_the_token_itself,
        mask_shows_one_to_come,
        mask_transposed,
        mask_forgets_the_past,
        mask_open,
        mask_ignores_padding,
        mask_inverts_padding,
        mask_of_ones,
        mask_of_infinity,
        mask_in_double,
    ),
    "softmax": (
        softmax_over_queries,
        softmax_over_everything,
        softmax_without_maximum,
        softmax_with_one_more,
        softmax_base_two,
        softmax_of_the_negative,
        softmax_in_two_bytes,
        softmax_not_rounded_back,
    ),
    "attention": (
        attention_heads_tiled,
        attention_unscaled,
        attention_scaled_by_width,
        attention_scaled_by_head_dim,
        attention_without_mask,
        attention_masked_after_softmax,
        attention_over_queries,
        attention_keys_for_values,
        attention_heads_mixed_up,
        attention_first_key_value_head_for_all,
        attention_keys_reversed,
        attention_to_the_first_row,
        attention_in_double,
    ),
    "activation": (
        activation_sigmoid,
        activation_relu,
        activation_gelu,
        activation_quick_gelu,
        activation_sign_slip,
        activation_overflows,
        activation_in_double,
    ),
    "mlp": (
        mlp_gate_and_up_swapped,
        mlp_without_activation,
        mlp_activation_after_product,
        mlp_adds_gate_and_up,
        mlp_without_up,
        mlp_adds_its_input,
        mlp_up_in_another_order,
        mlp_of_the_first_token,
        mlp_in_double,
        mlp_without_biases,
    ),
    "kv_cache": (
        _cache_with(cache_newest_first),
        _cache_with(cache_forgets_the_past),
        _cache_with(cache_shared_by_layers),
        _cache_with(cache_stores_keys_as_values),
        _cache_with(cache_in_double),
        _cache_with(cache_returns_room_to_grow),
        _cache_with(cache_overwrites_the_last),
    ),
    "greedy": (
        greedy_last_of_equals,
        greedy_least,
    ),
    "sample": (
        sample_of_logits,
        sample_one_further,
        sample_with_border_included,
        sample_from_the_other_end,
        sample_greedily,
        sample_with_one_number_for_all,
    ),
    "scale_temperature": (
        temperature_multiplied,
        temperature_on_probabilities,
        temperature_in_double,
    ),
    "keep_top_k": (
        top_k_one_too_few,
        top_k_least_likely,
        top_k_exactly_k,
        top_k_set_to_zero,
    ),
    "keep_top_p": (
        top_p_stops_short,
        top_p_one_too_many,
        top_p_without_sorting,
        top_p_in_double,
    ),
    "keep_min_p": (
        min_p_absolute,
        min_p_of_logits,
        min_p_drops_the_likeliest,
    ),
    "penalize_repetition": (
        penalty_divides_negative_logits,
        penalty_for_every_time,
        penalty_as_reward,
        penalty_for_all_rows,
        penalty_in_place,
    ),
}

MISTAKES: dict[str, Mistake] = {
    (wrong.__doc__ or ""): Mistake(wrong.__doc__ or "", field, wrong) for field, row in _WRONG.items() for wrong in row
}
