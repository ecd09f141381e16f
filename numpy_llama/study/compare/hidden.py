"""Scores that a mask hides: which number hides them is each one's own matter, that they are hidden is not.

What is hidden is no number to be compared: −∞, the lowest number, −10,000 and a score on top all come to a weight of
zero. So where one of the two hides, the other has to hide, too. A mask that is wrong would else be seen only at the
weights, behind the place where it is added.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from numpy_llama.model.values import layer_of
from numpy_llama.study.compare.descent import sources
from numpy_llama.study.compare.error_bars import HIDDEN, Place
from numpy_llama.study.compare.judging import HIDES, Judged, judge
from numpy_llama.study.compare.layouts import Reading
from numpy_llama.study.compare.places import ranges

if TYPE_CHECKING:
    from numpy_llama.study.compare.pairing import Pairs

NO_WEIGHT = 50.0  # so far below the largest score of its row: e^−50 is 2e−22, less than any error bar of a weight
ANY_WEIGHT = 1e-6  # where theirs has more at a hidden key, its mask was not added before the softmax
NOTE = "theirs are scores without the mask, as they are before it is added: hidden ones aren't compared"


def is_scores(name: str) -> bool:
    """Whether a value is the scores, mask and all."""
    return name.endswith(".self_attn.scores")


def judge_scores(reading: Reading, tolerance: float) -> Judged:
    """Scores as numbers where both show them; elsewhere both must hide them.

    reading  (B, H, T, S); counts are the keys that a token may look at
    """
    apart = hidden_apart(reading)
    judged = judge(reading.theirs, reading.expected, _plain(reading), tolerance)
    if not apart.any():
        return judged
    return Judged(np.where(apart, np.inf, judged.units), np.inf, np.inf, judged.compared + int(apart.sum()))


def hidden_apart(reading: Reading) -> np.ndarray:
    """Which scores one hides and the other doesn't, of those that ours hides or that don't count; not those of padded
    queries, nor what theirs doesn't tell (NaN). (B, H, T, S)
    """
    bare, covered = _bare_and_covered(reading)
    return bare | covered


def hides_too_much(reading: Reading) -> np.ndarray:
    """Which scores theirs hides that ours may look at. (B, H, T, S)"""
    with np.errstate(all="ignore"):
        return np.asarray(_plain(reading) & (reading.theirs < reading.expected.truth - HIDES))


def _bare_and_covered(reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Which scores ours alone hides, and which theirs alone does."""
    theirs, truth, plain = reading.theirs, reading.expected.truth, _plain(reading)
    compared = ~plain & plain.any(axis=-1, keepdims=True) & ~np.isnan(theirs)
    top_ours, top_theirs = _top(truth, plain), _top(theirs, plain)
    top_theirs = np.where(top_theirs > top_ours - HIDES, top_theirs, top_ours)  # theirs may hide the whole row
    with np.errstate(all="ignore"):
        ours_hides, theirs_hides = truth <= top_ours - NO_WEIGHT, theirs <= top_theirs - NO_WEIGHT
    return compared & ours_hides & ~theirs_hides, compared & theirs_hides & ~ours_hides


def _plain(reading: Reading) -> np.ndarray:
    """Which scores are compared as numbers."""
    truth = reading.expected.truth
    return np.asarray(np.broadcast_to(reading.counts, truth.shape) & (truth >= -HIDDEN))


def _top(scores: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """The largest score of each row, of those that count. (B, H, T, 1)"""
    return np.asarray(np.where(plain & np.isfinite(scores), scores, -np.inf).max(axis=-1, keepdims=True))


def mask_in_words(reading: Reading) -> str:
    """What theirs hides and ours doesn't, or the other way round; "" where both hide the same."""
    says = []
    bare, covered = _bare_and_covered(reading)
    covered = covered | hides_too_much(reading)
    if bare.any():
        says.append(f"theirs isn't hidden at {_cells(bare)}")
    if covered.any():
        says.append(f"theirs hides {_cells(covered)}, that ours may look at")
    return "; ".join(says) + ": the mask" if says else ""


def _cells(cells: np.ndarray) -> str:
    """ "keys 2–3 for queries 0–5" """
    keys, queries = (np.flatnonzero(cells.any(axis=axes)).tolist() for axes in ((0, 1, 2), (0, 1, 3)))
    said = f"key{'s' * (len(keys) > 1)} {ranges(keys)}"
    many = cells.shape[2] > 1
    return said + (f" for quer{'ies' if len(queries) > 1 else 'y'} {ranges(queries)}" if many else "")


def before_the_mask(pairs: "Pairs", prefills: set[int], layers: int) -> bool:
    """Whether the scores of a whole trace were taken down before the mask was added: a convention, and no mistake.

    It is one where no score of a prefill is hidden, while the weights have nothing at hidden keys. Without weights,
    where nothing that is computed from the scores is wrong through them alone.

    pairs     (call, name) → Pair
    prefills  which calls are
    """
    of_prefill = [place for place in pairs if is_scores(place[1]) and place[0] in prefills]
    some = False
    for call, name in of_prefill:
        reading = pairs[call, name].reading
        hidden = _hidden_by_ours(reading)
        some = some or bool(hidden.any())
        if (hidden & ~hidden_apart(reading)).any():
            return False
    return some and not any(_reaches_what_follows(pairs, place, layers) for place in of_prefill)


def _hidden_by_ours(reading: Reading) -> np.ndarray:
    """Which scores ours hides, of rows that are compared and numbers that theirs tells."""
    counts = np.broadcast_to(reading.counts, reading.theirs.shape)
    return np.asarray(counts.any(axis=-1, keepdims=True) & ~counts & ~np.isnan(reading.theirs))


def _reaches_what_follows(pairs: "Pairs", place: Place, layers: int) -> bool:
    """Whether unhidden scores lead to what theirs has after them."""
    call, name = place
    attention = name.removesuffix(".scores")
    weights = pairs.get((call, f"{attention}.weights"))
    if weights is not None:
        hidden = _hidden_by_ours(pairs[place].reading)
        if weights.reading.theirs.shape != hidden.shape:
            return not weights.judged.agrees
        return bool((np.nan_to_num(np.abs(weights.reading.theirs[hidden])) > ANY_WEIGHT).any())
    context = pairs.get((call, f"{attention}.context"))
    if context is None or context.judged.agrees:
        return False
    near, _ = sources(f"{attention}.context", lambda one: (call, one) in pairs, layers)
    values = [one for one in near if layer_of(one) == layer_of(name) and not is_scores(one)]
    return bool(values) and all(pairs[call, one].judged.agrees for one in values)


def not_held_to_the_mask(reading: Reading) -> Reading:
    """The same, with only the scores compared that a token may look at."""
    return replace(reading, mask_added=False)
