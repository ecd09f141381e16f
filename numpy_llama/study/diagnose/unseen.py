"""What some calls can't show, and what would."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from numpy_llama.mistakes.exposures import EXPOSURES
from numpy_llama.mistakes.mistake import Mistake
from numpy_llama.study.subject import Asked, Subject


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
    subject: Subject, blamed: tuple[str, ...], equals: Iterable[str], catalogue: Mapping[str, Mistake]
) -> tuple[str, ...]:
    """What would tell mistakes apart that give the same logits here.

    returns  exposures that are lacking; or, of twins, whose logits are always the same, the values to dump
    """
    others = [key for key in equals if not any(key in catalogue[one].twins for one in blamed)]
    missing = {name for key in others for name in lacking(subject, catalogue[key])}
    if missing:
        return tuple(sorted(missing))
    keys = [*blamed, *equals] if equals else []
    return tuple(dict.fromkeys(catalogue[key].first.replace("{i}", "0") for key in keys))
