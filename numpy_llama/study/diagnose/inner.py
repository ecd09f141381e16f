"""Diagnosis from inner values: it starts at the first that disagrees, and tries only the mistakes that live there.

With one of them planted, that value must agree, and the walk goes on to the next that disagrees, if any: so several
mistakes are found one after the other, and two with the same logits are told apart by where they begin.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from numpy_llama.mistakes.mistake import Mistake
from numpy_llama.model.values import table_name, value_named
from numpy_llama.probe import Call, record
from numpy_llama.study.compare.descent import sources, without_effect
from numpy_llama.study.compare.error_bars import HIDDEN, ErrorBar, Place
from numpy_llama.study.compare.expected import Expected, from_model
from numpy_llama.study.compare.pairing import Pairs, paired
from numpy_llama.study.compare.row_order import PROJECTED, in_neighbours_order
from numpy_llama.study.diagnose.trial import FAILURES, Planted
from numpy_llama.study.subject import Subject
from numpy_llama.study.trace.trace import LOGITS, Trace

MOST = 3  # mistakes that are looked for one after the other
TIMES_BETTER = 10  # how many times nearer a value must come


@dataclass(frozen=True)
class Walk:
    """How far a run agrees with theirs, from the first value on.

    pairs    every value of both
    wrong    the first that disagrees; None where all agree
    reached  how many values stand before it
    around   names in which the mistake may be: that of the value, and of those before it that theirs lacks
    neighbours  names of the table that were brought into the run's order from neighbours' (see compare/row_order.py)
    """

    pairs: Pairs
    wrong: Place | None
    reached: int
    around: tuple[str, ...]
    neighbours: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Followed:
    """What the walk found.

    planted  the mistakes, in the order in which they were found
    equals   others that lead as far, (key, label of the variant) each
    start    the walk without a mistake
    end      the walk with all of them planted
    tried    how many runs were made
    stopped  whether somebody stopped it
    """

    planted: Planted
    equals: Planted
    start: Walk
    end: Walk
    tried: int
    stopped: bool = False

    @property
    def first(self) -> str | None:
        """The full name of the first value that disagrees."""
        return None if self.start.wrong is None else f"call.{self.start.wrong[0]:04d}/{self.start.wrong[1]}"


def follow(
    subject: Subject, theirs: Trace, dtype: str, catalogue: Mapping[str, Mistake], progress: Callable[[str], None]
) -> Followed:
    """Walk along theirs from the first value to the last, planting what explains each disagreement.

    subject  with the calls of theirs, its weights as `dtype` holds them
    """
    wide = subject.in_dtype("float64")
    honest = from_model(wide, dtype, theirs)
    walk = start = _walk(theirs, honest, wide)
    planted: Planted = ()
    equals: Planted = ()
    tried, stopped = 0, False
    while walk.wrong is not None and len(planted) < MOST and not stopped:
        found: list[tuple[tuple[str, str], Subject, Walk]] = []
        try:
            for mistake in suspects(walk, catalogue):
                progress(f"at {walk.wrong[1]}: {mistake.key}")
                for label, changed in _variants(mistake, wide):
                    tried += 1
                    values = _values(changed, theirs)
                    after = None if values is None else _walk(theirs, _held_to(honest, values), changed)
                    if after is not None and _explains(walk, after):
                        found.append(((mistake.key, label), changed, after))
        except KeyboardInterrupt:
            stopped = True
        if not found:
            break
        furthest = max(_how_far(after) for _, _, after in found)
        best = [one for one in found if _how_far(one[2]) == furthest]
        best = [one for one in best if not one[2].neighbours] or best  # what explains the order of q's rows, too
        best = [one for one in best if _begins_right(one[2], catalogue[one[0][0]].first)] or best
        exact = table_name(walk.wrong[1])
        best.sort(key=lambda one: (catalogue[one[0][0]].first != exact, how_common(one[0][0], catalogue)))
        chosen, wide, walk = best[0]
        honest = from_model(wide, dtype, theirs)  # a mistake makes rounding grow or shrink, so the bars are its own
        walk = _walk(theirs, honest, wide)
        planted = (*planted, chosen)
        equals = (*equals, *{one[0][0]: one[0] for one in reversed(best) if one[0][0] != chosen[0]}.values())
        if len(planted) > 1:
            tried += 1
            alone = _alone(subject, chosen, theirs, honest, walk, catalogue)
            if alone is not None:  # what came before was a part of it
                planted, equals, (wide, walk) = (chosen,), (), alone
    return Followed(planted, equals, start, walk, tried, stopped)


def _alone(
    subject: Subject,
    chosen: tuple[str, str],
    theirs: Trace,
    honest: Expected,
    walk: Walk,
    catalogue: Mapping[str, Mistake],
) -> tuple[Subject, Walk] | None:
    """The run with one mistake alone, where it leads as far as with those found before it."""
    for label, planted in _variants(catalogue[chosen[0]], subject.in_dtype("float64")):
        values = _values(planted, theirs) if label == chosen[1] else None
        if values is not None:
            after = _walk(theirs, _held_to(honest, values), planted)
            if after.wrong is None or (walk.wrong is not None and after.reached >= walk.reached):
                return planted, after
    return None


def differences(walk: Walk, places: list[Place]) -> tuple[float, float]:
    """The largest difference and the root mean square, of the logits where there are any, else of some places."""
    found = [np.abs(_counted(walk, place, "truth")) for place in _shown(walk, places)]
    every = np.concatenate([*found, np.zeros(0)])
    return (float(every.max()), float(np.sqrt(np.mean(every**2)))) if len(every) else (0.0, 0.0)


def rounding(walk: Walk, places: list[Place]) -> float:
    """The root mean square of the error bars of the same numbers."""
    every = np.concatenate([*(_counted(walk, place, "bar") for place in _shown(walk, places)), np.zeros(0)])
    return float(np.sqrt(np.mean(every**2))) if len(every) else 0.0


def _shown(walk: Walk, places: list[Place]) -> list[Place]:
    logits = [place for place in walk.pairs if place[1] == LOGITS]
    return logits or [place for place in places if place in walk.pairs]


def _counted(walk: Walk, place: Place, what: str) -> np.ndarray:
    """How far theirs is from the truth, or the bar, for the numbers of a value that count; hidden scores don't."""
    reading = walk.pairs[place].reading
    counts = np.broadcast_to(reading.counts, reading.theirs.shape)
    with np.errstate(all="ignore"):
        found = reading.expected.bar if what == "bar" else reading.theirs - reading.expected.truth
    return found[counts & (np.abs(reading.expected.truth) < HIDDEN) & np.isfinite(reading.theirs)]


def _walk(theirs: Trace, expected: Expected, subject: Subject) -> Walk:
    """Hold theirs to a run. What differs while all that follows from it agrees was only kept in another way."""
    layers = subject.config.num_hidden_layers
    neighbours = in_neighbours_order(theirs, expected, subject.config, 1.0)
    pairs, _ = paired(theirs, expected, subject.config, 1.0, neighbours)
    reached = 0
    for call, names in enumerate(expected.names):
        there = {name for index, name in pairs if index == call}
        differs = {name for name in there if not pairs[call, name].judged.agrees}
        # The calls before agree. A value of which nothing follows is looked at by last_bit.py, whatever it holds.
        differs -= without_effect(names, differs, there, layers, cached=set(), rearranged=lambda name: True)
        for name in expected.bars[call]:
            if name in differs:
                _, between = sources(name, lambda one, call=call: (call, one) in pairs, layers)  # type: ignore[misc]
                return Walk(pairs, (call, name), reached, (name, *between), neighbours)
            reached += name in there
    return Walk(pairs, None, reached, (), neighbours)


def _how_far(walk: Walk) -> tuple[bool, int]:
    """To compare: the end is farthest, however many values a mistake may have left without a counterpart."""
    return walk.wrong is None, 0 if walk.wrong is None else walk.reached


def how_common(key: str, catalogue: Mapping[str, Mistake]) -> tuple[int, int]:
    """To sort by: what was met more often comes first, then what stands first in the catalogue."""
    return -len(catalogue[key].wild), list(catalogue).index(key)


def _begins_right(walk: Walk, first: str) -> bool:
    """Whether theirs agrees with a run at the value where its mistake begins, as far as theirs has it."""
    return all(pair.judged.agrees for (_, name), pair in walk.pairs.items() if table_name(name) == table_name(first))


def suspects(walk: Walk, catalogue: Mapping[str, Mistake], same_block: bool = True) -> Iterator[Mistake]:
    """The mistakes that begin at one of the values around.

    same_block  or anywhere in the block that computes one of them: a mistake in an eps may be too small to be seen in
                the first norm, and be seen in another
    """
    names = {table_name(name) for name in walk.around}
    if any(name.endswith((".scores", ".weights")) for name in names):
        names |= {"model.causal_mask", "model.layers.{i}.self_attn.scores"}  # a mask may show only there
    if walk.neighbours:  # in another order is right only as long as RoPE knows it
        names |= set(PROJECTED)
    blocks = {value.block for name in names if (value := value_named(name)) is not None} - {"", "linear"}
    for mistake in catalogue.values():
        begins = value_named(mistake.first)
        in_block = same_block and begins is not None and begins.block in blocks
        if table_name(mistake.first) in names or in_block:
            yield mistake


def _variants(mistake: Mistake, subject: Subject) -> Iterator[tuple[str, Subject]]:
    try:
        yield from mistake.plant(subject)
    except FAILURES:
        return


def _explains(before: Walk, after: Walk) -> bool:
    """Whether the walk leads further, and the value that disagreed is ten times nearer."""
    assert before.wrong is not None
    if after.wrong is not None and after.reached <= before.reached:
        return False
    pair = after.pairs.get(before.wrong)
    if pair is None:
        return False
    return pair.judged.typical * TIMES_BETTER <= before.pairs[before.wrong].judged.typical


def _values(subject: Subject, theirs: Trace) -> list[dict[str, np.ndarray]] | None:
    """What a run computes, of the values that theirs has; None where it can't be run."""
    found: list[dict[str, np.ndarray]] = [{} for _ in subject.calls]

    def see(name: str, value: np.ndarray, call: Call) -> None:
        if name in theirs.calls[call.index].values:
            found[call.index][name] = value.astype(np.float64)

    try:
        with record(see):
            subject.run()
    except FAILURES:
        return None
    return found


def _held_to(honest: Expected, values: list[dict[str, np.ndarray]]) -> Expected:
    """The values of another run with the honest run's error bars."""
    bars = [
        {name: ErrorBar(value, _bar(of_call.get(name), value)) for name, value in call.items()}
        for of_call, call in zip(honest.bars, values, strict=True)
    ]
    return replace(honest, bars=bars)


def _bar(honest: ErrorBar | None, value: np.ndarray) -> np.ndarray:
    if honest is not None and honest.bar.shape == value.shape:
        return honest.bar
    typical = 1.0 if honest is None else float(np.median(honest.bar))
    return np.full(value.shape, typical)
