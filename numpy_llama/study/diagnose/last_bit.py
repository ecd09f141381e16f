"""What the error bars are too wide for: mistakes of rounding in two bytes, and those that no logits show.

In bfloat16 and float16 our run rounds where Transformers rounds, so that from the same input nearly every number of a
block comes out equal to the last bit. Put their inner values in the place of ours, and what each block makes of them
says how *they* round: a norm that rounds in another place has a third of its numbers a last bit off.

What shows in no logits (positions all shifted, a finite mask) is seen in the value where it begins, and only there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from numpy_llama.mistakes.mistake import Mistake
from numpy_llama.model.values import table_name
from numpy_llama.precision import DTYPES
from numpy_llama.probe import Call, record
from numpy_llama.study.compare.judging import MASK
from numpy_llama.study.diagnose.trial import FAILURES
from numpy_llama.study.subject import Subject
from numpy_llama.study.trace.trace import Trace

TIMES_BETTER = 10  # how many times fewer numbers must be off
OFF = 0.02  # share of numbers off by a last bit from which on it is worth a word: ours and torch's are below 0.01
CLOSE = 1e-3  # relative: how near a value must come where no logits show it


@dataclass(frozen=True)
class LastBits:
    """A mistake that the last bits tell.

    key, label     the mistake
    value          where it shows
    before, after  share of that value's numbers that are equal to the last bit, without it and with it planted
    equals         keys of others that make as many equal
    """

    key: str
    label: str
    value: str
    before: float
    after: float
    equals: tuple[str, ...] = ()


def mistake_of_rounding(
    subject: Subject, theirs: Trace, dtype: str, catalogue: Mapping[str, Mistake]
) -> LastBits | None:
    """The mistake of rounding that makes most of their numbers ours, to the last bit; None where nothing is to mend.

    subject  in the two-byte dtype that they compute in
    """
    honest = _equal_shares(subject, theirs, dtype)
    best: LastBits | None = None
    for mistake in catalogue.values():
        name = table_name(mistake.first)
        if not mistake.rounding or 1 - honest.get(name, 1.0) < OFF:
            continue
        for label, planted in _variants(mistake, subject):
            after = _equal_shares(planted, theirs, dtype).get(name, 0.0)
            if (1 - after) * TIMES_BETTER > 1 - honest[name] or (best is not None and after < best.after):
                continue
            if best is not None and after == best.after and best.key != mistake.key:
                best = replace(best, equals=(*best.equals, mistake.key))
            elif best is None or after > best.after:
                best = LastBits(mistake.key, label, name, honest[name], after)
    return best


def invisible_mistake(subject: Subject, theirs: Trace, catalogue: Mapping[str, Mistake]) -> LastBits | None:
    """A mistake that shows in no logits, and whose own value theirs has; None where there is none."""
    honest = _near_shares(subject, theirs)
    for mistake in catalogue.values():
        name = table_name(mistake.first)
        if not mistake.invisible or mistake.rounding or 1 - honest.get(name, 1.0) < OFF:
            continue
        for label, planted in _variants(mistake, subject):
            after = _near_shares(planted, theirs).get(name, 0.0)
            if (1 - after) * TIMES_BETTER <= 1 - honest[name]:
                return LastBits(mistake.key, label, name, honest[name], after)
    return None


def _variants(mistake: Mistake, subject: Subject) -> Iterator[tuple[str, Subject]]:
    try:
        yield from mistake.plant(subject)
    except FAILURES:
        return


def _equal_shares(subject: Subject, theirs: Trace, dtype: str) -> dict[str, float]:
    """Of each name of the table, the share of their numbers that our block makes of their numbers before it."""
    counts: dict[str, list[int]] = {}

    def see(name: str, value: np.ndarray, call: Call) -> np.ndarray | None:
        held = theirs.calls[call.index].values
        if name not in held or name == MASK:
            return None
        put = np.asarray(held[name])
        if put.shape != value.shape or not np.isfinite(put.astype(np.float32)).all():
            return None
        with np.errstate(over="ignore"):
            put = put.astype(DTYPES[dtype])
        count = counts.setdefault(table_name(name), [0, 0])
        count[0] += int(np.count_nonzero(put == value))
        count[1] += put.size
        return put

    try:
        replace(subject, observers=(*subject.observers, lambda: see)).run()
    except FAILURES:
        return {}
    return {name: equal / total for name, (equal, total) in counts.items()}


def _near_shares(subject: Subject, theirs: Trace) -> dict[str, float]:
    """Of each name of the table, the share of their finite numbers that ours are near to."""
    counts: dict[str, list[int]] = {}

    def see(name: str, value: np.ndarray, call: Call) -> None:
        held = theirs.calls[call.index].values
        if name not in held or np.shape(held[name]) != value.shape:
            return
        put = np.asarray(held[name]).astype(np.float64)
        finite = np.isfinite(put)
        size = np.abs(put[finite]).max(initial=1.0) if name != MASK else np.abs(put[finite])
        count = counts.setdefault(table_name(name), [0, 0])
        count[0] += int(np.count_nonzero(np.abs(put - value.astype(np.float64))[finite] <= CLOSE * size))
        count[1] += int(np.count_nonzero(finite))

    try:
        with record(see), np.errstate(all="ignore"):
            subject.run()
    except FAILURES:
        return {}
    return {name: near / total for name, (near, total) in counts.items() if total}
