"""What all blocks together must do: a tiny Llama that computes through the record under judgement."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from numpy_llama.conformance.draws import Draw, dtypes, ids
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import Broken, close, is_array, unit
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.probe import Call, observe

V = 11
# Two layers, four query heads on two key/value heads. Weights are drawn ten times as wide as usual: an untrained
# model's attention would be nearly even, and an even attention forgives most mistakes.
CONFIG = LlamaConfig(
    vocab_size=V,
    hidden_size=16,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    initializer_range=0.2,
    rms_norm_eps=1e-5,
)
LENGTH = st.integers(1, 6)
PADDING = st.integers(1, 3)

# Two ways of computing the same logits differ in the order of their sums. Along one path through the model there are
# some 200 roundings; each layer may pass an error on several times as large as it came. 2^14 units is what that
# allows, 1.8e-12 of the logits' size in float64; what is seen is below 2^6 units, and no mistake of mistakes.py stays
# below 2^30.
ALLOWED = 2.0**14 * unit(np.dtype(np.float64))


def build(port: Port, dtype: str = "float64", layers: int = CONFIG.num_hidden_layers) -> LlamaForCausalLM:
    """The tiny model, the same weights every time."""
    return LlamaForCausalLM(replace(CONFIG, num_hidden_layers=layers), dtype=dtype, seed=1, blocks=port)


def logits_of(model: LlamaForCausalLM, input_ids: np.ndarray, **arguments: object) -> np.ndarray:
    """Logits of one call, (B, T, V)."""
    logits = model(input_ids, **arguments).logits  # type: ignore[arg-type]
    is_array(logits, (*np.shape(input_ids), V), "logits")
    return logits


def same(got: np.ndarray, expected: np.ndarray, claim: str) -> None:
    """Held equal but for the order of sums."""
    close(got, expected, ALLOWED * (1 + np.abs(expected).max(initial=0)), claim)


def the_future_changes_nothing(port: Port, draw: Draw) -> None:
    """Logits at position t don't depend on any token after t."""
    model, T = build(port), draw("T", LENGTH)
    input_ids, other = draw("input_ids", ids((1, T), V)), draw("other", ids((1, T), V))
    t = draw("t", st.integers(0, 5)) % T
    changed = np.concatenate((input_ids[:, : t + 1], other[:, t + 1 :]), axis=1)
    before, after = logits_of(model, input_ids), logits_of(model, changed)
    same(after[:, : t + 1], before[:, : t + 1], f"logits up to position {t}")


def the_past_matters(port: Port, draw: Draw) -> None:
    """Another first token changes the last logits: a model that sees nothing but the present isn't a Llama."""
    model, T = build(port), draw("T", st.integers(2, 6))
    input_ids = draw("input_ids", ids((1, T), V))
    changed = np.array(input_ids)
    changed[0, 0] = (changed[0, 0] + 1) % V
    before, after = logits_of(model, input_ids)[0, -1], logits_of(model, changed)[0, -1]
    if np.abs(after - before).max() <= 2.0**10 * ALLOWED:
        raise Broken("the last logits don't notice another first token", before, after)


def prefill_and_decode_are_one_pass(port: Port, draw: Draw) -> None:
    """Tokens given to the model piece by piece, with a cache, get the logits of one call with all of them."""
    model, pieces = build(port), draw("pieces", st.lists(st.integers(1, 3), min_size=1, max_size=4))
    T = sum(pieces)
    input_ids = draw("input_ids", ids((2, T), V))
    cache, start, logits = port.kv_cache(CONFIG.num_hidden_layers), 0, []
    for n in pieces:
        logits.append(logits_of(model, input_ids[:, start : start + n], past_key_values=cache))
        start += n
    same(np.concatenate(logits, axis=1), logits_of(model, input_ids, use_cache=False), "pieces together are the whole")


def a_row_does_not_know_its_neighbours(port: Port, draw: Draw) -> None:
    """Each row of a batch gets the logits it gets alone."""
    model, rows, T = build(port), draw("B", st.integers(1, 3)), draw("T", LENGTH)
    input_ids = draw("input_ids", ids((rows, T), V))
    apart = np.concatenate([logits_of(model, row[None]) for row in input_ids])
    same(logits_of(model, input_ids), apart, "a batch is each row alone")


def padding_changes_nothing(port: Port, draw: Draw) -> None:
    """Padding on the left, with its attention_mask and the positions counted without it, changes no real logit."""
    model, T, padded = build(port), draw("T", LENGTH), draw("padding", st.integers(0, 3))
    input_ids, filler = draw("input_ids", ids((1, T), V)), draw("filler", ids((1, padded), V))
    mask = np.concatenate((np.zeros_like(filler), np.ones_like(input_ids)), axis=1)
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    whole = np.concatenate((filler, input_ids), axis=1)
    got = logits_of(model, whole, attention_mask=mask, position_ids=positions)
    same(got[:, padded:], logits_of(model, input_ids), "logits of the real tokens")


def padding_in_the_cache_changes_nothing(port: Port, draw: Draw) -> None:
    """Padding on the left stays unseen in the calls that go on from a cache, whose attention_mask names it again."""
    model, T, steps, padded = build(port), draw("T", LENGTH), draw("steps", st.integers(1, 3)), draw("padding", PADDING)
    input_ids = draw("input_ids", ids((2, padded + T + steps), V))
    mask = np.ones_like(input_ids)
    mask[0, :padded] = 0  # the other row is as long without padding
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    cache, logits = port.kv_cache(CONFIG.num_hidden_layers), []
    stops = range(padded + T, input_ids.shape[1] + 1)
    for start, stop in zip((0, *stops), stops, strict=False):
        beside = {"attention_mask": mask[:, :stop], "position_ids": positions[:, start:stop]}
        logits.append(logits_of(model, input_ids[:, start:stop], past_key_values=cache, **beside))
    together = np.concatenate(logits, axis=1)
    same(together[:1, padded:], logits_of(model, input_ids[:1, padded:], use_cache=False), "the padded row alone")
    same(together[1:], logits_of(model, input_ids[1:], use_cache=False), "the other row alone")


def only_distances_matter(port: Port, draw: Draw) -> None:
    """All positions moved on by s leave every logit as it was: RoPE lets attention see differences alone."""
    model, T, s = build(port), draw("T", LENGTH), draw("s", st.integers(0, 40))
    input_ids = draw("input_ids", ids((1, T), V))
    moved = logits_of(model, input_ids, position_ids=np.arange(s, s + T)[None])
    same(moved, logits_of(model, input_ids), f"positions from {s} instead of 0")


def order_of_tokens_matters(port: Port, draw: Draw) -> None:
    """Two past tokens that change places change the last logits, even in a single layer, which without RoPE would see
    a bag of words."""
    # (With two layers, the mask alone would tell: what the second token gathered depends on which was first.)
    model = build(port, layers=1)
    a, b, c = draw("three tokens", st.permutations(range(V)))[:3]
    before, after = (logits_of(model, np.array([row]))[0, -1] for row in ((a, b, c), (b, a, c)))
    if np.abs(after - before).max() <= 2.0**10 * ALLOWED:
        raise Broken("the last logits don't notice that two tokens changed places", before, after)


def nothing_changes_its_dtype(port: Port, draw: Draw) -> None:
    """Every value of a forward pass, prefill and decode, has the dtype of the weights."""
    dtype, T = draw("dtype", dtypes), draw("T", LENGTH)
    model, input_ids = build(port, dtype.name), draw("input_ids", ids((1, T), V))
    cache = port.kv_cache(CONFIG.num_hidden_layers)

    def look(name: str, value: np.ndarray, call: Call) -> None:
        if value.dtype != dtype:
            raise Broken(f"{name} is {value.dtype} in a {dtype} model ({call.kind})", got=value)

    with observe(look):
        model(input_ids, past_key_values=cache)
        logits = model(input_ids[:, -1:], past_key_values=cache).logits
    is_array(logits, (1, 1, V), "logits", dtype)


PROPERTIES = (
    the_future_changes_nothing,
    the_past_matters,
    prefill_and_decode_are_one_pass,
    a_row_does_not_know_its_neighbours,
    padding_changes_nothing,
    padding_in_the_cache_changes_nothing,
    only_distances_matter,
    order_of_tokens_matters,
    nothing_changes_its_dtype,
)
