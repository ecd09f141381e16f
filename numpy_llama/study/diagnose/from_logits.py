"""The search in logits: every mistake is planted and run once; then pairs of those that come nearest."""

from time import monotonic

from numpy_llama.errors import LlamaError
from numpy_llama.mistakes.mistake import Mistake
from numpy_llama.study.diagnose.case import HONEST, Baseline, Case
from numpy_llama.study.diagnose.trial import (
    FAILURES,
    Distance,
    Planted,
    Trial,
    attempt,
    exactly,
    plant,
    same_logits,
)
from numpy_llama.study.subject import Subject

TIMES_BETTER = 10  # how many times nearer a mistake must come than none, and a pair than one
SAME = 3  # within so many error bars, two runs gave the same logits
IN_PAIRS = 10  # how many of the best are planted by twos
PATIENCE = 30.0  # seconds that it goes on for others after one fits
FINALISTS = 5  # how many of the best are measured exactly, until one fits


def honest_runs(case: Case) -> list[Baseline]:
    """The reference without a mistake, by each convention and dtype that is possible; the nearest first."""
    case.progress("the reference without a mistake")
    found = []
    for convention in case.stranger.asked:
        subject = case.asked(convention)
        try:
            subject.in_dtype(case.quick).run()
        except LlamaError as error:  # what can't be run is said here, and not taken for a mistake
            raise error.inside(case.theirs.source) from None
        for dtype in case.stranger.dtypes:
            result = exactly(subject, dtype, case.measure)
            if result is None:
                raise LlamaError("the reference can't make these calls", where=convention or None)
            distance, bar = result
            found.append(Baseline(convention, dtype, distance, case.bar(bar, dtype)))
    # One that agrees goes before all; else the likeliest dtype, and of its conventions the nearest.
    order = {dtype: place for place, dtype in enumerate(case.stranger.dtypes)}
    return sorted(found, key=lambda one: (not one.agrees, order[one.dtype], one.distance.rms))


def singles(case: Case, honest: list[Baseline]) -> list[Trial]:
    """Every variant of every mistake, by every convention; those that change nothing are noted as unseen.

    With a large model the search ends, after a while, with the first that fits, and its twins: those of rounding, which
    are the slowest to plant, come last.
    """
    trials: list[Trial] = []
    bases = {name: case.asked(name).in_dtype(case.quick) for name in case.stranger.asked}
    plain = {name: case.measure.distance(base.run()) for name, base in bases.items()}
    bar = min(one.bar for one in honest)
    enough = min(HONEST[honest[0].dtype] * honest[0].bar, honest[0].distance.rms / TIMES_BETTER)
    started, fitting = monotonic(), ""
    order = sorted(case.catalogue.values(), key=lambda mistake: mistake.rounding)
    try:
        for number, mistake in enumerate(order):
            if fitting and not case.thorough and monotonic() - started > PATIENCE:
                case.shortened = True
                if mistake.key not in case.catalogue[fitting].twins:
                    continue
            case.progress(f"{number + 1} of {len(order)} mistakes: {mistake.key}")
            found = [trial for name, base in bases.items() for trial in _variants(case, mistake, name, base)]
            if all(same_logits(one.distance, plain[one.convention], SAME * bar) for one in found):
                case.unseen.append(mistake.key)
            elif not fitting and any(one.distance.rms <= enough for one in found):
                fitting = mistake.key
            # Of several variants, those that change nothing here are no candidates.
            trials += [one for one in found if not same_logits(one.distance, plain[one.convention], SAME * bar)]
    except KeyboardInterrupt:
        case.interrupted = True
    return trials


def _variants(case: Case, mistake: Mistake, convention: str, base: Subject) -> list[Trial]:
    trials = []
    try:
        for label, planted in mistake.plant(base):
            case.tried += 1
            distance = attempt(planted, case.measure)
            if distance is not None:
                trials.append(Trial(((mistake.key, label),), convention, distance))
    except FAILURES:
        pass  # one that can't be planted in this model, and doesn't know it
    return trials


def pairs(case: Case, visible: list[Trial], baseline: Baseline) -> list[Trial]:
    """Pairs among the ten best mistakes, then the best with every other, until two fit; the nearest first.

    One of two mistakes nearly always comes nearest by itself, the other may hide behind it.
    """
    if case.interrupted:
        return []
    best = _best_for_pairs(visible, baseline.bar)
    among = [(a, b) for place, a in enumerate(best) for b in best[place + 1 :]]
    rest = [(best[0], other) for other in visible if other not in best and other.keys != best[0].keys]
    couples = [(a, b) for a, b in (*among, *rest) if a.convention == b.convention]
    trials: list[Trial] = []
    try:
        for number, (a, b) in enumerate(couples):
            both: Planted = (*a.planted, *b.planted)
            case.progress(f"{number + 1} of {len(couples)} pairs: {a.keys[0]} and {b.keys[0]}")
            try:
                planted = plant(case.asked(a.convention).in_dtype(case.quick), both, case.catalogue)
            except FAILURES:
                continue
            case.tried += 1
            distance = attempt(planted, case.measure)
            if distance is None:
                continue
            trials.append(Trial(both, a.convention, distance))
            if number >= len(among) and distance.rms <= HONEST[baseline.dtype] * baseline.bar:
                break
    except KeyboardInterrupt:
        case.interrupted = True
    return sorted(trials, key=lambda one: one.distance.rms)


def _best_for_pairs(visible: list[Trial], bar: float) -> list[Trial]:
    """The ten best by score, one of each class with the same logits and one variant of each mistake."""
    chosen: list[Trial] = []
    for trial in sorted(visible, key=lambda one: one.distance.score(bar / SAME)):
        if all(trial.keys != one.keys and not same_logits(trial.distance, one.distance, SAME * bar) for one in chosen):
            chosen.append(trial)
        if len(chosen) == IN_PAIRS:
            break
    return chosen


def measured(case: Case, ranked: list[Trial], baseline: Baseline) -> tuple[Trial | None, Distance, float, bool]:
    """The nearest of some trials, measured exactly: it, its distance, its bar, and whether it fits within it."""
    best: tuple[Trial, Distance, float] | None = None
    try:
        for trial in ranked[:FINALISTS]:
            if best is not None and trial.distance.rms > TIMES_BETTER * best[1].rms:
                break
            for dtype in case.stranger.dtypes:
                case.progress(f"measuring {' and '.join(trial.keys)}")
                try:
                    subject = plant(case.asked(trial.convention), trial.planted, case.catalogue)
                except FAILURES:
                    continue
                result = exactly(subject, dtype, case.measure)
                if result is None:
                    continue
                distance, bar = result[0], case.bar(result[1], dtype)
                if distance.rms <= HONEST[dtype] * bar:
                    return trial, distance, bar, True
                if best is None or distance.rms < best[1].rms:
                    best = trial, distance, bar
    except KeyboardInterrupt:  # then the quick measurement must do
        case.interrupted = True
        if best is None:
            best = ranked[0], ranked[0].distance, baseline.bar
            return (*best, best[1].rms <= HONEST[baseline.dtype] * baseline.bar)
    if best is None:
        return None, baseline.distance, baseline.bar, False
    return (*best, False)
