"""What grouped-query attention must do."""

import numpy as np
from hypothesis import strategies as st

from numpy_llama.blocks.causal_mask import causal_mask
from numpy_llama.conformance.draws import Draw, double, dtypes, numbers, sizes
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import close, equal, holds, is_array, tolerance

heads = st.sampled_from(((1, 1), (2, 1), (2, 2), (4, 2)))  # (H, K)


def draw_qkv(draw: Draw, dtype: np.dtype, T: int, S: int, B: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query (B, H, T, D), key and value (B, K, S, D). Entries of query and key stay below 1: large scores would round
    so coarsely in two bytes that a mistake could hide behind them."""
    (H, K), D = draw("(H, K)", heads), draw("D", st.sampled_from((2, 4)))
    return (
        draw("query", numbers((B, H, T, D), dtype, largest=8)),
        draw("key", numbers((B, K, S, D), dtype, largest=8)),
        draw("value", numbers((B, K, S, D), dtype)),
    )


def for_every_head(x: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(B, K, S, D) → (B, H, S, D) in float64: head h reads key/value head h // G."""
    return np.repeat(double(x), query.shape[1] // x.shape[1], axis=1)


def truth_and_bound(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    visible: np.ndarray | bool = True,
    scaling: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The formula in float64, and how far a correct result may be from it.

    Each score is rounded as a product of D terms, after the scale and after the mask: 3. A score that is off by d makes
    its exponential, and at worst the sum of them, off by e^d: a weight by e^(2d) − 1. The weight is rounded once, and
    so is the sum of S weighted values at the end.
    """
    dtype, D, S = query.dtype, query.shape[-1], key.shape[2]
    scaling = D**-0.5 if scaling is None else scaling
    keys, values = for_every_head(key, query), for_every_head(value, query)
    scores = double(query) @ keys.swapaxes(-1, -2) * scaling
    terms = np.abs(double(query)) @ np.abs(keys).swapaxes(-1, -2) * scaling
    exponentials = np.where(visible, np.exp(scores), 0.0)
    weights = exponentials / exponentials.sum(axis=-1, keepdims=True)
    context = weights @ values

    off = tolerance(dtype, scores, narrow=3, wide=2 * D + 2, terms=terms).max(axis=-1, keepdims=True)
    softmax_roundings = int(2 * (np.ptp(scores) + 2)) + S + 1  # as in softmax's own properties
    weight_error = np.expm1(2 * off) + tolerance(dtype, np.ones(1), narrow=1, wide=softmax_roundings)
    gathered = weights @ np.abs(values)
    bound = weight_error * gathered + tolerance(dtype, context, narrow=1, wide=2 * S, terms=gathered)
    return context, bound


def values_worked_out_by_hand(port: Port, draw: Draw) -> None:
    """D = 4, query (2, 0, 0, 0), keys (ln 3, 0, 0, 0) and 0: scores 2 ln 3 / √4 = ln 3 and 0, weights 3/4 and 1/4."""
    query, key = np.zeros((1, 1, 1, 4)), np.zeros((1, 1, 2, 4))
    query[..., 0], key[0, 0, 0, 0] = 2.0, np.log(3.0)
    value = np.array([[[[8.0, 0, 4, 0], [0, 8, 4, 0]]]])
    # 1e-14: some ten roundings of numbers up to 8.
    close(port.attention(query, key, value), [[[[6.0, 2.0, 4.0, 0.0]]]], 1e-14, "¾ (8, 0, 4, 0) + ¼ (0, 8, 4, 0)")


def keeps_shape_and_dtype(port: Port, draw: Draw) -> None:
    """(B, H, T, D) of the query's dtype, with a mask and without."""
    dtype, T, past = draw("dtype", dtypes), draw("T", sizes), draw("past", st.integers(0, 2))
    q, k, v = draw_qkv(draw, dtype, T, T + past)
    is_array(port.attention(q, k, v), q.shape, "shape and dtype", dtype)
    is_array(port.attention(q, k, v, causal_mask(T, T + past, dtype)), q.shape, "shape and dtype with a mask", dtype)


def stays_in_the_convex_hull(port: Port, draw: Draw) -> None:
    """Weights are positive and sum to one, so seen from any direction the output lies among the values."""
    dtype, T, S = draw("dtype", dtypes), draw("T", sizes), draw("S", sizes)
    q, k, v = draw_qkv(draw, dtype, T, S)
    direction = draw("direction", numbers((q.shape[-1],), np.dtype(np.float64), largest=2))
    context = port.attention(q, k, v)
    is_array(context, q.shape, "context")
    seen = for_every_head(v, q) @ direction  # (B, H, S)
    low, high = seen.min(axis=-1, keepdims=True), seen.max(axis=-1, keepdims=True)  # (B, H, 1)
    along = double(context) @ direction  # (B, H, T)
    # Weights, rounded, sum to 1 ± (1 narrow + S + 1 wide), and the context is a rounded sum of S products.
    size = np.abs(double(v)).max() * np.abs(direction).sum()
    bound = tolerance(dtype, size, narrow=2, wide=4 * S + 6)
    holds(along <= high + bound, "no output lies beyond all values", high, along)
    holds(along >= low - bound, "no output lies before all values", low, along)


def one_key_gives_its_value(port: Port, draw: Draw) -> None:
    """With a single token to look at its weight is 1, and the output is its value, exactly."""
    dtype, T = draw("dtype", dtypes), draw("T", sizes)
    q, k, v = draw_qkv(draw, dtype, T, 1)
    equal(port.attention(q, k, v), np.broadcast_to(for_every_head(v, q), q.shape), "the one value there is")


def a_low_score_counts_where_it_is_the_highest(port: Port, draw: Draw) -> None:
    """The one token there is has weight 1 at a score of −1000 too, beside a query, head or text whose score is 0."""
    # exp(−1000) is 0 in every dtype: with one maximum for all queries the lower one's weight is 0/0.
    dtype, axis = draw("dtype", dtypes), draw("axis of the two", st.sampled_from((2, 1, 0)))
    B, H, T = (2 if i == axis else 1 for i in range(3))
    query, key = np.zeros((B, H, T, 4), dtype), np.zeros((B, H, 1, 4), dtype)
    query.swapaxes(0, axis)[0, ..., 0], key[..., 0] = -2000, 1  # scores −2000 / √4 and 0
    value = draw("value", numbers((B, H, 1, 4), dtype))
    expected = np.broadcast_to(value, query.shape)
    equal(port.attention(query, key, value), expected, "the one value there is, at a score of −1000 and at one of 0")


def equal_keys_give_the_mean(port: Port, draw: Draw) -> None:
    """Where all keys are alike, every visible token counts the same: the output is the mean of their values."""
    dtype, T = draw("dtype", dtypes), draw("T", sizes)
    q, k, v = draw_qkv(draw, dtype, T, T)
    same = np.repeat(k[:, :, :1], T, axis=2)
    values = for_every_head(v, q)
    mean = np.cumsum(values, axis=2) / np.arange(1, T + 1)[:, None]  # token t sees 0 … t
    visible = np.tri(T, dtype=bool)
    bound = truth_and_bound(q, same, v, visible)[1]
    close(port.attention(q, same, v, causal_mask(T, T, dtype)), mean, bound, "the mean of the visible values")


def grouped_heads_are_repeated_heads(port: Port, draw: Draw) -> None:
    """GQA = MHA with every key/value head repeated G times in place: 0 0 1 1, not 0 1 0 1."""
    dtype, T, S = draw("dtype", dtypes), draw("T", sizes), draw("S", sizes)
    q, k, v = draw_qkv(draw, dtype, T, S)
    G = q.shape[1] // k.shape[1]
    expected = port.attention(q, np.repeat(k, G, axis=1), np.repeat(v, G, axis=1))
    is_array(expected, q.shape, "attention with H key/value heads")
    close(port.attention(q, k, v), double(expected), 2 * truth_and_bound(q, k, v)[1], "GQA = MHA with repeated heads")


def what_is_masked_has_no_influence(port: Port, draw: Draw) -> None:
    """Other keys and values at tokens to come change nothing."""
    dtype, T = draw("dtype", dtypes), draw("T", st.integers(1, 3))
    q, k, v = draw_qkv(draw, dtype, T, T)
    visible, mask = np.tri(T, dtype=bool), causal_mask(T, T, dtype)
    t = draw("t", st.integers(0, 2)) % T
    key, value = np.array(k), np.array(v)
    key[:, :, t + 1 :] = draw("other", numbers((1,), dtype, largest=8))
    value[:, :, t + 1 :] = 5
    bound = 2 * truth_and_bound(q, k, v, visible)[1][:, :, : t + 1]
    before = port.attention(q, k, v, mask)
    is_array(before, q.shape, "context")
    close(port.attention(q, key, value, mask)[:, :, : t + 1], double(before)[:, :, : t + 1], bound, "the past stays")


def order_of_tokens_does_not_matter(port: Port, draw: Draw) -> None:
    """Without a mask, keys and values in another order (the same for both) give the same output."""
    dtype, T, S = draw("dtype", dtypes), draw("T", sizes), draw("S", sizes)
    q, k, v = draw_qkv(draw, dtype, T, S)
    order = draw("order", st.permutations(range(S)))
    expected = port.attention(q, k, v)
    is_array(expected, q.shape, "context")
    bound = 2 * truth_and_bound(q, k, v)[1]
    close(port.attention(q, k[:, :, order], v[:, :, order]), double(expected), bound, "tokens in another order")


def rows_do_not_know_each_other(port: Port, draw: Draw) -> None:
    """Attention of a batch is attention of each row."""
    dtype, T, S = draw("dtype", dtypes), draw("T", sizes), draw("S", sizes)
    q, k, v = draw_qkv(draw, dtype, T, S, B=2)
    apart = np.concatenate([port.attention(q[b : b + 1], k[b : b + 1], v[b : b + 1]) for b in range(2)])
    close(port.attention(q, k, v), double(apart), 2 * truth_and_bound(q, k, v)[1], "a batch is each row alone")


def is_the_formula(port: Port, draw: Draw) -> None:
    """softmax(Q Kᵀ · scaling + mask) V with scaling 1/√D unless given, within the roundings of the dtype."""
    dtype, T, past = draw("dtype", dtypes), draw("T", sizes), draw("past", st.integers(0, 2))
    q, k, v = draw_qkv(draw, dtype, T, T + past)
    scaling = draw("scaling", st.sampled_from((None, 0.25)))
    visible = np.arange(T + past) <= np.arange(past, T + past)[:, None]
    expected, bound = truth_and_bound(q, k, v, visible, scaling)
    got = port.attention(q, k, v, causal_mask(T, T + past, dtype), scaling)
    close(got, expected, bound, "softmax(Q Kᵀ · scaling + mask) V")


PROPERTIES = (
    values_worked_out_by_hand,
    keeps_shape_and_dtype,
    one_key_gives_its_value,
    a_low_score_counts_where_it_is_the_highest,
    equal_keys_give_the_mean,
    stays_in_the_convex_hull,
    grouped_heads_are_repeated_heads,
    what_is_masked_has_no_influence,
    order_of_tokens_does_not_matter,
    rows_do_not_know_each_other,
    is_the_formula,
)
