"""Mistakes of attention's heads: which query reads which keys and values, and how heads are put together again."""

from collections.abc import Callable

import numpy as np

from numpy_llama.mistakes.attention import QUERY_ROTATED, SCORES, other_attention
from numpy_llama.mistakes.mistake import GITHUB, Mistake, Variants
from numpy_llama.mistakes.planting import with_value
from numpy_llama.study.subject import Subject

Array = np.ndarray

CONTEXT = "model.layers.{i}.self_attn.context"


def key_value_heads_tiled(attend: Callable, query: Array, key: Array, value: Array, *rest: object) -> Array:
    """Query head h reads key/value head h % K."""
    times = (1, query.shape[1] // key.shape[1], 1, 1)
    return attend(query, np.tile(key, times), np.tile(value, times), *rest)


def query_heads_regrouped(subject: Subject) -> Variants:
    """Query heads are laid out as (G, K) instead of (K, G), and put back after attention."""
    K = subject.config.num_key_value_heads
    order = np.arange(subject.config.num_attention_heads).reshape(-1, K).T.ravel()  # 0 K 2K …, 1 K+1 …
    if (order != np.sort(order)).any():
        moved = with_value(subject, "model.layers.*.self_attn.query_rotated", lambda q: q[:, order])
        yield "", with_value(moved, "model.layers.*.self_attn.context", lambda c: c[:, np.argsort(order)])


def first_key_value_head(attend: Callable, query: Array, key: Array, value: Array, *rest: object) -> Array:
    """Every query head reads key/value head 0."""
    return attend(query, key[:, :1], value[:, :1], *rest)


def heads_joined_as_they_lie(attend: Callable, *given: object) -> Array:
    """(B, H, T, D) is read as (B, T, H·D) without a transposition."""
    context = attend(*given)
    B, H, T, D = context.shape
    return context.reshape(B, T, H, D).swapaxes(1, 2)


def heads_joined_channels_first(attend: Callable, *given: object) -> Array:
    """(B, H, T, D) becomes (B, T, D·H), all heads' first channels before their second ones."""
    context = attend(*given)
    B, H, T, D = context.shape
    return context.transpose(0, 2, 3, 1).reshape(B, T, H, D).swapaxes(1, 2)


def keys_mixed(attend: Callable, query: Array, key: Array, value: Array, *rest: object) -> Array:
    """The weights mix keys."""
    return attend(query, key, key, *rest)


def values_matched(attend: Callable, query: Array, key: Array, value: Array, *rest: object) -> Array:
    """Keys and values stand in one another's place."""
    return attend(query, value, key, *rest)


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="kv-heads-tiled",
        says="whose key/value heads are tiled (0 1 0 1) where they should be repeated in place (0 0 1 1)",
        looks_like="models with as many key/value heads as query heads are right, grouped ones talk nonsense",
        mend="repeat_interleave along the heads' axis, not tile or repeat: query head h reads key/value head h // G",
        wild=(f"{GITHUB}/onnx/onnx/pull/7274 (Tile in the definition of ONNX's Attention)",),
        first=SCORES,
        plant=other_attention(key_value_heads_tiled),
        exposed_by=("grouped-heads",),
        twins=("query-heads-regrouped",),
    ),
    Mistake(
        key="query-heads-regrouped",
        says="whose query heads are grouped as (G, K) where they lie as (K, G), so that head h reads h % K",
        looks_like="models with as many key/value heads as query heads are right, grouped ones talk nonsense",
        mend="reshape the H query heads to (K, G), key/value heads first: neighbours share a key/value head",
        wild=(f"{GITHUB}/nntile/nntile/pull/347 (a review finds the two axes exchanged in o_proj)",),
        first=QUERY_ROTATED,
        plant=query_heads_regrouped,
        exposed_by=("grouped-heads",),
        twins=("kv-heads-tiled",),
    ),
    Mistake(
        key="kv-heads-first",
        says="whose query heads all read the first key/value head",
        looks_like="multi-query models are right, all others talk nonsense",
        mend="let query head h read key/value head h // G",
        wild=(f"{GITHUB}/tinygrad/tinygrad/pull/2267 (the cache had the wrong number of key/value heads)",),
        first=SCORES,
        plant=other_attention(first_key_value_head),
        exposed_by=("several-key-value-heads",),
    ),
    Mistake(
        key="heads-joined-without-transpose",
        says="whose heads are joined as they lie in memory, (B, H, T, D) read as (B, T, H·D)",
        looks_like="prompts go wrong, a single token is right: so generation from one token on looks fine",
        mend="transpose heads and tokens before the reshape",
        wild=(
            f"{GITHUB}/jsbaan/transformer-from-scratch/pull/6 (a missing permute; training hid it)",
            f"{GITHUB}/ajhalthor/Transformer-Neural-Network/pull/4",
            f"{GITHUB}/hackiey/QAnet-pytorch/issues/2",
        ),
        first="model.layers.{i}.self_attn.o_proj",
        plant=other_attention(heads_joined_as_they_lie),
        exposed_by=("several-tokens", "several-heads"),
    ),
    Mistake(
        key="heads-joined-channels-first",
        says="whose heads are joined channel by channel, as (D, H), not head by head, as (H, D)",
        looks_like="nonsense from the first token; the numbers that o_proj reads are the right ones, in another order",
        mend="transpose (B, H, T, D) to (B, T, H, D), channels last, before the reshape",
        wild=(),
        first="model.layers.{i}.self_attn.o_proj",
        plant=other_attention(heads_joined_channels_first),
        exposed_by=("several-heads",),
    ),
    Mistake(
        key="keys-for-values",
        says="whose attention mixes keys where it should mix values",
        looks_like="nonsense from the first token",
        mend="the weights multiply the values",
        wild=(),
        first=CONTEXT,
        plant=other_attention(keys_mixed),
    ),
    Mistake(
        key="values-for-keys-and-keys-for-values",
        says="whose attention takes values for keys and keys for values",
        looks_like="nonsense from the first token; two arguments of one shape in the wrong order",
        mend="hand them over in the order query, key, value; by name, best",
        wild=(),
        first=SCORES,
        plant=other_attention(values_matched),
    ),
)
