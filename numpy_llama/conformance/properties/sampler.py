"""What the sampler must do: the rules that narrow the logits, and the draw from what is left."""

import numpy as np
from hypothesis import strategies as st

from numpy_llama.conformance.draws import Draw, double, ids, numbers, sizes, wide_dtypes
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties.softmax import truth as softmax
from numpy_llama.conformance.rounding import close, equal, holds, is_array, unit

vocabulary = st.integers(1, 6)
shares = st.sampled_from((0.5, 0.1, 0.9, 0.95, 1.0))


def draw_logits(draw: Draw, rows: int = 1) -> np.ndarray:
    """(B, V): eighths between −4 and 4, so that ties happen."""
    dtype, V = draw("dtype", wide_dtypes), draw("V", vocabulary)
    return draw("logits", numbers((rows, V), dtype, largest=32))


def probability_error(logits: np.ndarray) -> float:
    """How far off a sum of V probabilities may be: softmax's roundings for logits at most 8 apart
    (2 · (8 + 2) + V + 1), and V sums."""
    return 2 * (21 + 2 * logits.shape[-1]) * unit(logits.dtype)


def kept(port_logits: np.ndarray, logits: np.ndarray, rule: str) -> np.ndarray:
    """Which tokens a rule kept; a kept logit stays what it was, a ruled-out one is −∞."""
    is_array(port_logits, logits.shape, f"what {rule} returns", logits.dtype)
    keeps = port_logits > -np.inf
    equal(port_logits, np.where(keeps, double(logits), -np.inf), f"{rule}: a logit that is kept stays what it was")
    holds(keeps.any(axis=-1), f"{rule} keeps at least one token", got=port_logits)
    return keeps


def greedy_takes_the_likeliest(port: Port, draw: Draw) -> None:
    """The chosen logit is the largest; of equal ones the lowest id is taken."""
    logits = draw_logits(draw, rows=2)
    expected = np.array([row.index(max(row)) for row in logits.tolist()])
    equal(port.greedy(logits), expected, "the first of the largest")


def a_draw_is_the_inverse_of_the_cumulative_sum(port: Port, draw: Draw) -> None:
    """The token drawn with u is the first whose cumulative probability is above u."""
    logits, u = draw_logits(draw), draw("u", st.integers(0, 63)) / 64
    cumulative = softmax(logits)[0].cumsum()
    token = port.sample(logits, np.array([u]))
    is_array(token, (1,), "the token drawn")
    i = int(token[0])
    holds(0 <= i < logits.shape[-1], "a token of the vocabulary", got=token)
    error = probability_error(logits)  # where u falls on a border, either side will do
    below = cumulative[i - 1] if i else 0.0
    holds(below - error <= u <= cumulative[i] + error, f"u = {u:g} lies in the share of the token", cumulative, token)


def draws_come_as_often_as_they_should(port: Port, draw: Draw) -> None:
    """With u = 1/128, 3/128, …, 127/128 every token is drawn 64 p times, but for one at each border of its share."""
    logits = draw_logits(draw)
    u = (np.arange(64) + 0.5) / 64
    tokens = port.sample(np.repeat(logits, 64, axis=0), u)
    is_array(tokens, (64,), "tokens drawn")
    counts = np.bincount(tokens, minlength=logits.shape[-1])
    close(counts, 64 * softmax(logits)[0], 1 + 64 * probability_error(logits), "how often each token is drawn")


def a_draw_grows_with_u(port: Port, draw: Draw) -> None:
    """u ≤ v gives token(u) ≤ token(v)."""
    logits = draw_logits(draw)
    u, v = sorted((draw("u", st.integers(0, 63)) / 64, draw("v", st.integers(0, 63)) / 64))
    tokens = port.sample(np.repeat(logits, 2, axis=0), np.array([u, v]))
    is_array(tokens, (2,), "tokens drawn")
    holds(tokens[0] <= tokens[1], f"the token for {u:g} isn't after that for {v:g}", got=tokens)


def what_is_ruled_out_is_never_drawn(port: Port, draw: Draw) -> None:
    """A logit of −∞ has probability 0: not drawn for u = 0, nor for the largest u below 1."""
    logits = np.array(draw_logits(draw))
    V = logits.shape[-1]
    out = [i for i in draw("ruled out", st.lists(st.integers(0, 5), max_size=5)) if i < V]
    logits[0, out] = -np.inf
    if len(set(out)) == V:
        return  # nothing is left to draw from
    u = np.array([0.0, 0.5, 1 - 2.0**-53])
    tokens = port.sample(np.repeat(logits, 3, axis=0), u)
    is_array(tokens, (3,), "tokens drawn")
    holds(tokens < V, "a token of the vocabulary", got=tokens)
    holds(np.isfinite(logits[0, tokens]), "a token that isn't ruled out", got=tokens)


def temperature_divides(port: Port, draw: Draw) -> None:
    """logits / temperature: the order stays; below 1 the likeliest becomes likelier, above 1 less likely."""
    logits, temperature = draw_logits(draw), draw("temperature", st.sampled_from((1.0, 0.5, 2.0, 0.7)))
    got = port.scale_temperature(logits, temperature)
    is_array(got, logits.shape, "logits", logits.dtype)
    expected = double(logits) / temperature
    # The temperature is rounded, and the quotient: 2; twice that in float64, where the truth is rounded as well.
    close(got, expected, 4 * unit(logits.dtype) * np.abs(expected), "logits / temperature")
    top_before, top_after = softmax(logits).max(), softmax(got).max()
    error = probability_error(logits)
    holds((top_after - top_before) * (1 - temperature) >= -error, "towards the likeliest below 1, away from it above")


def top_k_keeps_the_k_likeliest(port: Port, draw: Draw) -> None:
    """A token is kept where fewer than k are likelier: k of them, and any equal to the k-th."""
    logits, k = draw_logits(draw, rows=2), draw("k", st.integers(1, 8))
    keeps = kept(port.keep_top_k(logits, k), logits, "top-k")
    likelier = (logits[:, None, :] > logits[:, :, None]).sum(axis=-1)  # (B, V)
    equal(keeps.astype(np.int64), (likelier < k).astype(np.int64), f"kept where fewer than {k} are likelier")


def top_p_keeps_the_smallest_sufficient_set(port: Port, draw: Draw) -> None:
    """What is kept has probability p or more; without its least likely token it would have less; no other is
    likelier."""
    logits, p = draw_logits(draw), draw("p", shares)
    keeps = kept(port.keep_top_p(logits, p), logits, "top-p")[0]
    probabilities, error = softmax(logits)[0], probability_error(logits)
    sum_kept = probabilities[keeps].sum()
    holds(sum_kept >= p - error, f"what is kept has probability {p:g} or more", np.array(p), np.array(sum_kept))
    needed = sum_kept - probabilities[keeps].min()
    holds(needed <= p + error, "one token less would do, too", np.array(p), np.array(needed))
    if not keeps.all():
        holds(logits[0, keeps].min() >= logits[0, ~keeps].max(), "none ruled out is likelier than one kept", got=keeps)


def min_p_measures_against_the_likeliest(port: Port, draw: Draw) -> None:
    """Kept where p_i ≥ min_p · max p."""
    logits, share = draw_logits(draw, rows=2), draw("min_p", st.sampled_from((0.1, 0.05, 0.5)))
    keeps = kept(port.keep_min_p(logits, share), logits, "min-p")
    ratio = softmax(logits) / softmax(logits).max(axis=-1, keepdims=True)
    clear = np.abs(ratio - share) > probability_error(logits)  # on the border either will do
    equal((keeps & clear).astype(int), ((ratio >= share) & clear).astype(int), f"kept where p ≥ {share:g} · max p")


def repetition_is_penalised_once(port: Port, draw: Draw) -> None:
    """A token that was there gets logit / penalty, or logit · penalty where negative: never likelier for a penalty
    above 1, once however often it was there, and no other token changes."""
    logits, penalty = draw_logits(draw, rows=2), draw("penalty", st.sampled_from((1.5, 2.0, 1.1)))
    seen = draw("seen_ids", ids((2, draw("S", sizes)), logits.shape[-1]))
    got = port.penalize_repetition(logits, seen, penalty)
    is_array(got, logits.shape, "logits", logits.dtype)
    holds(got <= logits, "no token becomes likelier", logits, got)
    expected = double(logits).copy()
    for row, tokens in zip(expected, seen.tolist(), strict=True):
        for token in set(tokens):
            row[token] = row[token] / penalty if row[token] > 0 else row[token] * penalty
    # The penalty is rounded, and the quotient or product: 2; twice that in float64.
    close(got, expected, 4 * unit(logits.dtype) * np.abs(expected), "logit / penalty, or · penalty where negative")


PROPERTIES = (
    greedy_takes_the_likeliest,
    a_draw_is_the_inverse_of_the_cumulative_sum,
    draws_come_as_often_as_they_should,
    a_draw_grows_with_u,
    what_is_ruled_out_is_never_drawn,
    temperature_divides,
    top_k_keeps_the_k_likeliest,
    top_p_keeps_the_smallest_sufficient_set,
    min_p_measures_against_the_likeliest,
    repetition_is_penalised_once,
)
