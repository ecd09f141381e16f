"""Theirs beside ours: each value of theirs in our shape, judged."""

from dataclasses import dataclass, replace

import numpy as np

from numpy_llama.checkpoints.rope_layout import halves_from_neighbours
from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.values import table_name
from numpy_llama.study.compare.error_bars import Place
from numpy_llama.study.compare.expected import Expected
from numpy_llama.study.compare.hidden import before_the_mask, is_scores, judge_scores, not_held_to_the_mask
from numpy_llama.study.compare.judging import MASK, Judged, judge, judge_mask
from numpy_llama.study.compare.layouts import SHOWN, Reading, readings
from numpy_llama.study.trace.trace import Trace


@dataclass(frozen=True)
class Pair:
    """A value of both.

    reading  theirs in the shape of ours
    judged   how far apart they are
    """

    reading: Reading
    judged: Judged

    @property
    def broken(self) -> bool:
        """Whether some of what counts isn't finite, so that nothing can be computed from it."""
        theirs = self.reading.theirs
        finite = np.isfinite(theirs)
        if self.reading.mask_added:  # −∞ hides a score; a whole row of it has no softmax
            finite = finite | ((theirs == -np.inf) & finite.any(axis=-1, keepdims=True))
        return not finite[np.broadcast_to(self.reading.counts, theirs.shape)].all()


Pairs = dict[Place, Pair]


def paired(
    theirs: Trace, expected: Expected, config: LlamaConfig, tolerance: float, neighbours: frozenset[str] = frozenset()
) -> tuple[Pairs, dict[Place, str]]:
    """Every value that both have, in the reading that agrees, or the plainest; and those of which no reading fits.

    neighbours  names of the table whose heads have their channels in neighbours' order (see row_order.py)
    returns     the pairs, and a message for each that doesn't fit
    """
    pairs: Pairs = {}
    misfits: dict[Place, str] = {}
    for call, bars in enumerate(expected.bars):
        for name, bar in bars.items():
            if name not in theirs.calls[call].values:
                continue
            best = pair_of(theirs, (call, name), expected, config, tolerance, neighbours)
            if best is None:
                found = theirs.calls[call].values[name].shape
                misfits[call, name] = f"shape {found}; expected {bar.truth.shape}"
            else:
                pairs[call, name] = best
    prefills = {call for call, given in enumerate(expected.seen) if given.tokens.shape == given.keys.shape}
    if before_the_mask(pairs, prefills, config.num_hidden_layers):
        for place, pair in pairs.items():
            if is_scores(place[1]):
                reading = not_held_to_the_mask(pair.reading)
                pairs[place] = Pair(reading, _judged(reading, place, expected, tolerance))
    return pairs, misfits


def pair_of(
    theirs: Trace,
    place: Place,
    expected: Expected,
    config: LlamaConfig,
    tolerance: float,
    neighbours: frozenset[str] = frozenset(),
) -> Pair | None:
    """One value of both, in the reading that agrees, or the plainest; None where no reading fits."""
    best = None
    for reading in _readings(theirs, place, expected, config, neighbours):
        pair = Pair(reading, _judged(reading, place, expected, tolerance))
        if pair.judged.agrees:
            return pair
        best = best or pair
    return best


def judged_again(
    theirs: Trace,
    expected: Expected,
    pairs: Pairs,
    config: LlamaConfig,
    tolerance: float,
    neighbours: frozenset[str] = frozenset(),
) -> Pairs:
    """The same values, read in the same way, held to something else."""
    again: Pairs = {}
    for place, pair in pairs.items():
        for reading in _readings(theirs, place, expected, config, neighbours):
            if reading.note == pair.reading.note:
                reading = replace(reading, mask_added=pair.reading.mask_added)
                again[place] = pair if place[1] == MASK else Pair(reading, _judged(reading, place, expected, tolerance))
                break
    return again


def _readings(
    theirs: Trace, place: Place, expected: Expected, config: LlamaConfig, neighbours: frozenset[str]
) -> list[Reading]:
    call, name = place
    value = np.asarray(theirs.calls[call].values[name])
    if value.dtype.kind not in "fbiuV":
        return []
    bar = expected.bars[call][name]
    counts = expected.seen[call].counts(name, bar.truth.shape)
    partial = getattr(theirs, "partial", {}).get(f"{theirs.calls[call].name}/{name}")
    found = list(readings(value.astype(np.float64), bar, counts, name, config))
    if table_name(name) in neighbours:
        found = [replace(reading, theirs=_in_halves(reading.theirs, config.head_dim)) for reading in found]
    if is_scores(name):
        found = [replace(reading, mask_added=reading.theirs.ndim == 4) for reading in found]
    if partial is None:
        return found
    return [_of_what_is_shown(reading, partial.resolution) for reading in found]


def _in_halves(theirs: np.ndarray, head_dim: int) -> np.ndarray:
    """(…, n·D), the channels of each head brought from neighbours' order into ours."""
    return halves_from_neighbours(theirs.swapaxes(0, -1), theirs.shape[-1] // head_dim).swapaxes(0, -1)


def _of_what_is_shown(reading: Reading, resolution: float) -> Reading:
    """Where a file shows a part of a value, and that rounded: NaN doesn't count, and each number is taken to be as near
    to ours as what was printed allows.
    """
    shown = ~np.isnan(reading.theirs)
    nearest = np.clip(reading.expected.truth, reading.theirs - resolution, reading.theirs + resolution)
    return replace(
        reading,
        theirs=np.where(shown, nearest, np.nan if reading.mask_added else 0.0),
        counts=np.broadcast_to(reading.counts, shown.shape) & shown,
        note="; ".join(filter(None, (reading.note, f"{int(shown.sum())} of {shown.size} {SHOWN}"))),
    )


def _judged(reading: Reading, place: Place, expected: Expected, tolerance: float) -> Judged:
    if reading.mask_added:
        return judge_scores(reading, tolerance)
    if place[1] != MASK or reading.theirs.shape[-2:] != expected.seen[place[0]].visible.shape[-2:]:
        return judge(reading.theirs, reading.expected, reading.counts, tolerance)
    seen = expected.seen[place[0]]
    return judge_mask(reading.theirs, seen.visible, seen.tokens[:, None, :, None])


def check_something(theirs: Trace, pairs: Pairs, misfits: dict[Place, str]) -> None:
    """raises  LlamaError where there is nothing to be judged"""
    if not pairs and misfits:
        (call, name), message = next(iter(misfits.items()))
        shape, _, expected = message.partition("; expected ")
        raise LlamaError(
            "no value has a shape that fits: a trace of another model?",
            where=f"{theirs.source}: {theirs.calls[call].name}/{name}",
            expected=expected,
            found=shape.removeprefix("shape "),
        )
    if not pairs:
        names = [name for call in theirs.calls for name in call.values]
        found = ", ".join(names[:4]) + (", …" if len(names) > 4 else "") if names else "no values at all"
        expected = "names of the table of values, as lm_head for the logits"
        raise LlamaError("no value that ours has", where=theirs.source, expected=expected, found=found)
    if not any(pair.judged.compared for pair in pairs.values()):
        raise LlamaError("nothing but padding", where=theirs.source, expected="a value of a token that isn't padding")
    if not any(np.isfinite(pair.reading.theirs).any() for pair in pairs.values()):
        raise LlamaError("holds nothing but NaN or infinity", where=theirs.source, expected="numbers")
