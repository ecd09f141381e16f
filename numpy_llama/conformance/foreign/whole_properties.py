"""What every Llama does, whatever its weights: causality, batches, padding, caches.

The sentences are those of properties/model.py, which holds our own model to them through its blocks; here a model is a
callable from ids to logits and nothing is known of its inside.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from numpy_llama.conformance.draws import Draw, ids
from numpy_llama.conformance.foreign.whole import Whole
from numpy_llama.conformance.rounding import Broken, close, unit
from numpy_llama.precision import DTYPES

LENGTH = st.integers(1, 6)

# As in properties/model.py: two ways of computing the same logits differ in the order of their sums, by less than 2^6
# units in what is seen there. Published float32 logits are held to 1e-5 of the largest, 2^7.4 units; two results, each
# as far off as that to either side, are 2^8.4 apart.
UNITS = 2.0**8.4


def same(whole: Whole, got: np.ndarray, expected: np.ndarray, claim: str) -> None:
    """Held equal but for the order of sums."""
    bound = UNITS * unit(DTYPES[whole.dtype]) * (np.finfo(np.float32).tiny + np.abs(expected).max(initial=0))
    close(got, expected.astype(np.float64), bound, claim)


def the_future_changes_nothing(whole: Whole, draw: Draw) -> None:
    """Logits at position t don't depend on any token after t."""
    V, T = whole.vocab_size, draw("T", LENGTH)
    input_ids, other = draw("input_ids", ids((1, T), V)), draw("other", ids((1, T), V))
    t = draw("t", st.integers(0, 5)) % T
    changed = np.concatenate((input_ids[:, : t + 1], other[:, t + 1 :]), axis=1)
    before, after = whole.logits(input_ids), whole.logits(changed)
    same(whole, after[:, : t + 1], before[:, : t + 1], f"logits up to position {t}")


def the_past_matters(whole: Whole, draw: Draw) -> None:
    """Another first token changes the last logits: a model that sees nothing but the present isn't a Llama."""
    V, T = whole.vocab_size, draw("T", st.integers(2, 6))
    input_ids = draw("input_ids", ids((1, T), V))
    changed = np.array(input_ids)
    changed[0, 0] = (changed[0, 0] + 1) % V
    before, after = whole.logits(input_ids)[0, -1], whole.logits(changed)[0, -1]
    if np.array_equal(before, after):
        raise Broken("the last logits don't notice another first token", before, after)


def a_row_does_not_know_its_neighbours(whole: Whole, draw: Draw) -> None:
    """Each row of a batch gets the logits it gets alone."""
    rows, T = draw("B", st.integers(1, 3)), draw("T", LENGTH)
    input_ids = draw("input_ids", ids((rows, T), whole.vocab_size))
    apart = np.concatenate([whole.logits(row[None]) for row in input_ids])
    same(whole, whole.logits(input_ids), apart, "a batch is each row alone")


def the_same_call_gives_the_same_logits(whole: Whole, draw: Draw) -> None:
    """A call leaves nothing behind: the same ids give the same logits after another call."""
    input_ids = draw("input_ids", ids((1, draw("T", LENGTH)), whole.vocab_size))
    other = draw("other", ids((1, draw("T of the other", LENGTH)), whole.vocab_size))
    before = whole.logits(input_ids)
    whole.logits(other)
    same(whole, whole.logits(input_ids), before, "the same ids, before and after another call")


def padding_on_the_right_changes_nothing(whole: Whole, draw: Draw) -> None:
    """Padding on the right, with its attention_mask, changes no real logit."""
    T, padded = draw("T", LENGTH), draw("padding", st.integers(0, 3))
    input_ids, filler = (
        draw("input_ids", ids((1, T), whole.vocab_size)),
        draw("filler", ids((1, padded), whole.vocab_size)),
    )
    mask = np.concatenate((np.ones_like(input_ids), np.zeros_like(filler)), axis=1)
    got = whole.logits(np.concatenate((input_ids, filler), axis=1), attention_mask=mask)
    same(whole, got[:, :T], whole.logits(input_ids), "logits of the real tokens")


def padding_on_the_left_changes_nothing(whole: Whole, draw: Draw) -> None:
    """Padding on the left, with its attention_mask and the positions counted without it, changes no real logit."""
    T, padded = draw("T", LENGTH), draw("padding", st.integers(0, 3))
    input_ids, filler = (
        draw("input_ids", ids((1, T), whole.vocab_size)),
        draw("filler", ids((1, padded), whole.vocab_size)),
    )
    mask = np.concatenate((np.zeros_like(filler), np.ones_like(input_ids)), axis=1)
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    whole_ids = np.concatenate((filler, input_ids), axis=1)
    got = whole.logits(whole_ids, attention_mask=mask, position_ids=positions)
    same(whole, got[:, padded:], whole.logits(input_ids), "logits of the real tokens")


def padding_in_the_cache_changes_nothing(whole: Whole, draw: Draw) -> None:
    """Padding on the left stays unseen in the calls that go on from a cache, whose attention_mask names it again."""
    T, steps, padded = draw("T", LENGTH), draw("steps", st.integers(1, 3)), draw("padding", st.integers(1, 3))
    input_ids = draw("input_ids", ids((2, padded + T + steps), whole.vocab_size))
    mask = np.ones_like(input_ids)
    mask[0, :padded] = 0  # the other row is as long without padding
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    cache, logits = None, []
    stops = range(padded + T, input_ids.shape[1] + 1)
    for start, stop in zip((0, *stops), stops, strict=False):
        beside = {"attention_mask": mask[:, :stop]}
        # A model that takes no positions may count the padding: all of a row's are moved on alike, and only
        # distances matter.
        if whole.takes("position_ids"):
            beside["position_ids"] = positions[:, start:stop]
        got, cache = whole.continued(input_ids[:, start:stop], cache, **beside)
        logits.append(got)
    together = np.concatenate(logits, axis=1)
    same(whole, together[:1, padded:], whole.logits(input_ids[:1, padded:]), "the padded row alone")
    same(whole, together[1:], whole.logits(input_ids[1:]), "the other row alone")


def prefill_and_decode_are_one_pass(whole: Whole, draw: Draw) -> None:
    """Tokens given to the model piece by piece, with a cache, get the logits of one call with all of them."""
    pieces = draw("pieces", st.lists(st.integers(1, 3), min_size=1, max_size=4))
    input_ids = draw("input_ids", ids((2, sum(pieces)), whole.vocab_size))
    cache, start, logits = None, 0, []
    for n in pieces:
        beside = {}
        if whole.takes("position_ids"):  # a model that is told positions may want to be told them always
            beside["position_ids"] = np.arange(start, start + n)[None].repeat(2, axis=0)
        got, cache = whole.continued(input_ids[:, start : start + n], cache, **beside)
        logits.append(got)
        start += n
    same(whole, np.concatenate(logits, axis=1), whole.logits(input_ids), "pieces together are the whole")


def only_distances_matter(whole: Whole, draw: Draw) -> None:
    """All positions moved on by s leave every logit as it was: RoPE lets attention see differences alone."""
    T, s = draw("T", LENGTH), draw("s", st.integers(0, 8))
    input_ids = draw("input_ids", ids((1, T), whole.vocab_size))
    moved = whole.logits(input_ids, position_ids=np.arange(s, s + T)[None])
    same(whole, moved, whole.logits(input_ids), f"positions from {s} instead of 0")


WholeProperty = Callable[[Whole, Draw], None]

# Each with what the model must take for it to be tried.
PROPERTIES: Mapping[WholeProperty, Iterable[str]] = {
    the_future_changes_nothing: (),
    the_past_matters: (),
    a_row_does_not_know_its_neighbours: (),
    the_same_call_gives_the_same_logits: (),
    padding_on_the_right_changes_nothing: ("attention_mask",),
    padding_on_the_left_changes_nothing: ("attention_mask", "position_ids"),
    padding_in_the_cache_changes_nothing: ("attention_mask", "cache"),
    prefill_and_decode_are_one_pass: ("cache",),
    only_distances_matter: ("position_ids",),
}


def lacking(whole: Whole, needed: Iterable[str]) -> str:
    """What a model would have to take for a property to be tried, in words; empty where it takes all."""
    missing: list[Any] = [name for name in needed if not whole.takes(name)]
    return f"the model takes no {' and no '.join(missing)}" if missing else ""
