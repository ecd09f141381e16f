"""What was found, put into a Diagnosis."""

from dataclasses import replace

from numpy_llama.model.values import table_name
from numpy_llama.study.compare.difference import difference
from numpy_llama.study.diagnose.calls_seen import by_logits, by_values
from numpy_llama.study.diagnose.case import Baseline, Case
from numpy_llama.study.diagnose.diagnosis import Candidate, Diagnosis, Verdict
from numpy_llama.study.diagnose.from_logits import SAME
from numpy_llama.study.diagnose.inner import Followed, differences, how_common, rounding
from numpy_llama.study.diagnose.trial import Distance, Trial, same_logits
from numpy_llama.study.diagnose.unseen import not_there, tell_apart, what_would_show

WORTH_A_LINE = (
    2  # how many times nearer than no mistake a candidate must come: unrelated logits of half the size do less
)


def described(
    case: Case,
    verdict: str,
    baseline: Baseline,
    blamed: Trial | None,
    distance: Distance,
    bar: float,
    others: list[Trial],
) -> Diagnosis:
    """The verdict with all that is said beside it.

    blamed    the trial whose mistakes are blamed; None where none is
    distance  of the blamed trial, or of the best one, from the stranger's numbers
    bar       how far an honest run may be away
    others    every trial that ran, nearest first
    """
    equal: list[Trial] = []
    if blamed is not None:
        same = [one for one in others if len(one.keys) == len(blamed.keys)]
        equal = [one for one in same if same_logits(one.distance, blamed.distance, SAME * bar)]
        if equal:
            near = [one for one in equal if one.distance.rms <= 1.2 * equal[0].distance.rms]
            blamed = min(near, key=lambda one: [how_common(key, case.catalogue) for key in one.keys])
    planted = blamed.planted if blamed is not None else ()
    keys = tuple(key for key, _ in planted)
    equals = {key: label for one in reversed(equal) for key, label in one.planted if key not in keys}
    equals = dict(sorted(equals.items(), key=lambda one: how_common(one[0], case.catalogue)))
    enough = min(baseline.distance.rms, case.measure.spread) / WORTH_A_LINE
    said = Diagnosis(
        verdict,  # type: ignore[arg-type]
        keys,
        tuple(label for _, label in planted),
        tuple(equals),
        candidates=_candidates([one for one in others if one not in equal and one.distance.rms <= enough]),
        tell_apart=tell_apart(
            case.asked(baseline.convention), planted, tuple(equals.items()), case.catalogue, case.theirs
        ),
    )
    after = distance if blamed is not None else baseline.distance
    return with_numbers(case, said, baseline, after, bar if blamed is not None else baseline.bar)


def with_numbers(case: Case, said: Diagnosis, baseline: Baseline, after: Distance, bar: float) -> Diagnosis:
    returned = case.stranger.reading.mistake
    if returned in case.catalogue:
        verdict: dict[str, Verdict] = {"agrees": "mistake", "mistake": "pair", "unknown": "partly"}
        said = replace(
            said,
            verdict=verdict.get(said.verdict, said.verdict),
            mistakes=(*said.mistakes, returned),
            labels=(*said.labels, ""),
        )
    subject = case.asked(baseline.convention)
    unseen, add = what_would_show(subject, case.catalogue, case.unseen)
    assumptions = case.stranger.assumptions
    if baseline.agrees and baseline.convention:
        assumptions += (f"It agrees {baseline.convention}.",)
    if case.shortened:
        assumptions += ("The search ended with the first mistake that fits; --all tries the others, too.",)
    if returned:
        assumptions += (f"The numbers are {case.stranger.reading.name}, and were compared as such.",)
    return replace(
        said,
        before=baseline.distance.largest,
        after=after.largest,
        before_rms=baseline.distance.rms,
        after_rms=after.rms,
        rounding=bar,
        dtype=baseline.dtype,
        positions=case.stranger.positions,
        tried=case.tried,
        calls=by_logits(case, baseline),
        dump=not_there(said.mistakes, case.catalogue, case.theirs),
        unseen=tuple(key for key in unseen if key not in said.mistakes),
        add=add,
        assumptions=assumptions,
        interrupted=case.interrupted,
    )


def from_walk(case: Case, followed: Followed, convention: str, dtype: str) -> Diagnosis:
    """The diagnosis of a walk; numbers are of the logits where there are any, else of the first wrong value."""
    keys = tuple(key for key, _ in followed.planted)
    labels = tuple(label for _, label in followed.planted)
    whole = followed.end.wrong is None
    verdict: Verdict = "agrees" if whole else "unknown"
    if keys:
        verdict = "partly" if not whole else "mistake" if len(keys) == 1 else "pair"
    subject = case.asked(convention, dtype)
    unseen, add = what_would_show(subject, case.catalogue, ())
    places = [one for one in (followed.start.wrong, followed.end.wrong) if one is not None][:1]
    places = places or list(followed.end.pairs)[-1:]
    before, before_rms = differences(followed.start, places)
    after, after_rms = differences(followed.end, places)
    equals = dict(followed.equals)
    assumptions = case.stranger.assumptions
    for name in dict.fromkeys(table_name(case.catalogue[key].first) for key in keys):
        pairs = [pair for (_, one), pair in followed.start.pairs.items() if table_name(one) == name]
        if pairs and all(pair.judged.agrees for pair in pairs):
            assumptions += (f"{name} is right in {case.theirs.source}: look at how it is used, not at how it is made.",)
    return Diagnosis(
        verdict,
        keys,
        labels,
        tuple(equals),
        before,
        after,
        before_rms,
        after_rms,
        rounding=rounding(followed.start, places),
        dtype=dtype,
        positions=case.stranger.positions,
        tried=case.tried,
        unseen=tuple(key for key in unseen if key not in keys and case.catalogue[key].rounding is False),
        add=add,
        tell_apart=tell_apart(subject, followed.planted, followed.equals, case.catalogue, case.theirs),
        assumptions=assumptions,
        first=followed.first,
        unexplained=unexplained(case, followed),
        calls=by_values(case, followed.start, convention),
        dump=not_there(keys, case.catalogue, case.theirs),
        interrupted=case.interrupted,
    )


def unexplained(case: Case, followed: Followed) -> tuple[str, str] | None:
    """The first value that what was planted doesn't explain, and how it differs, in the words of `compare`."""
    wrong = followed.end.wrong
    if wrong is None:
        return None
    pair = followed.end.pairs[wrong]
    how = difference(pair.reading, pair.judged, wrong[1], case.subject.config, case.stranger.dtypes[0])
    name = f"{case.theirs.calls[wrong[0]].name}/{wrong[1]}"
    return name, how.says + (f" ({how.place})" if how.place else "")


def _candidates(others: list[Trial], count: int = 5) -> tuple[Candidate, ...]:
    """The nearest, one variant of each."""
    nearest: dict[tuple[str, ...], Candidate] = {}
    for one in sorted(others, key=lambda one: one.distance.rms):
        labels = tuple(label for _, label in one.planted)
        nearest.setdefault(one.keys, Candidate(one.keys, labels, one.distance.largest, one.distance.rms))
        if len(nearest) == count:
            break
    return tuple(nearest.values())
