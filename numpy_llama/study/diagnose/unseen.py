"""What some calls can't show, and what would."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from numpy_llama.mistakes.exposures import EXPOSURES
from numpy_llama.mistakes.mistake import Mistake
from numpy_llama.probe import Call, record
from numpy_llama.study.diagnose.trial import FAILURES, Planted, plant
from numpy_llama.study.subject import Asked, Subject
from numpy_llama.study.trace.trace import Trace


def lacking(subject: Subject, mistake: Mistake) -> tuple[str, ...]:
    """The exposures of a mistake that a model and its calls don't have."""
    return tuple(name for name in mistake.exposed_by if name in EXPOSURES and not EXPOSURES[name].holds(subject))


def what_would_show(
    subject: Subject, catalogue: Mapping[str, Mistake], unseen: Iterable[str]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The mistakes that calls can't show, and which calls would.

    unseen   keys of those that were planted and changed nothing
    returns  the keys, those whose exposures are lacking among them; and what to add to the calls: exposure → the keys
             that it would show. What only another model would show isn't in it
    """
    hidden = set(unseen)
    with_everything = replace(subject, calls=_every_kind_of_call())
    add: dict[str, list[str]] = {}
    keys = []
    for key, mistake in catalogue.items():
        missing = lacking(subject, mistake)
        if key in hidden or missing or mistake.invisible:
            keys.append(key)
        if missing and not lacking(with_everything, mistake):
            for name in missing:
                add.setdefault(name, []).append(key)
    return tuple(keys), {name: tuple(found) for name, found in add.items()}


def _every_kind_of_call() -> tuple[Asked, ...]:
    """Prefill, chunk and decode of padded rows, padding on the left, on the right and in the middle."""
    mask = np.ones((3, 8), np.int64)
    mask[0, :3] = mask[1, 4:5] = mask[2, 6:] = 0
    calls, past = [], 0
    for new in (8, 3, 1):
        mask = mask if past == 0 else np.pad(mask, ((0, 0), (0, new)), constant_values=1)
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)[:, -new:]
        calls.append(Asked(np.zeros((3, new), np.int64), mask, positions, past))
        past += new
    return tuple(calls)


def tell_apart(
    subject: Subject, blamed: Planted, equals: Planted, catalogue: Mapping[str, Mistake], theirs: Trace
) -> tuple[str, ...]:
    """What would tell mistakes apart that give the same logits here.

    returns  exposures that are lacking; or the values to dump: those that theirs lacks and that aren't the same with
             each of them; () where nothing of these calls tells
    """
    if not equals:
        return ()
    others = [key for key, _ in equals if not any(key in catalogue[one].twins for one, _ in blamed)]
    missing = {name for key in others for name in lacking(subject, catalogue[key])}
    if missing:
        return tuple(sorted(missing))
    wanted = not_there([key for key, _ in (*blamed, *equals)], catalogue, theirs)
    if not wanted:
        return ()
    runs = [_values(subject, one, catalogue, wanted) for one in (*blamed, *equals)]
    return tuple(name for name in wanted if any(not _same(run, runs[0], name) for run in runs))


def not_there(keys: Iterable[str], catalogue: Mapping[str, Mistake], theirs: Trace) -> tuple[str, ...]:
    """The values at which mistakes begin, in the first layer, that theirs lacks."""
    names = dict.fromkeys(catalogue[key].first.replace("{i}", "0") for key in keys)
    return tuple(name for name in names if not any(name in call.values for call in theirs.calls))


def _values(
    subject: Subject, one: tuple[str, str], catalogue: Mapping[str, Mistake], names: tuple[str, ...]
) -> dict[str, list[np.ndarray]]:
    """What some values are in each call, with one mistake planted; {} where it can't be run."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def see(name: str, value: np.ndarray, call: Call) -> None:
        if name in found:
            found[name].append(value.astype(np.float64))

    try:
        with record(see):
            plant(subject, (one,), catalogue).run()
    except FAILURES:
        return {}
    return found


def _same(one: dict[str, list[np.ndarray]], other: dict[str, list[np.ndarray]], name: str) -> bool:
    a, b = one.get(name, []), other.get(name, [])
    return len(a) == len(b) and all(
        x.ndim == y.ndim and _broadcasts(x, y) and np.allclose(x, y, rtol=1e-5, atol=1e-6)
        for x, y in zip(a, b, strict=True)
    )


def _broadcasts(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two arrays can be compared: a mask of one row is that of all."""
    return all(n == m or 1 in (n, m) for n, m in zip(x.shape, y.shape, strict=True))
