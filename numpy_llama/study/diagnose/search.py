"""Which known mistake makes the reference give a stranger's logits: each is planted and run, then pairs of the best.

Three rules keep the innocent from being blamed. Nothing is blamed while the honest run agrees, within what rounding
does to it. A mistake must come ten times nearer than none, and a pair ten times nearer than its better half: of eighty
mistakes, some always fit noise a little better than the truth does. And a mistake that changes nothing on these calls
is never a candidate; it is named among those that can't be seen.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace

from numpy_llama.mistakes.mistake import Mistake
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.streamed_weights import in_memory
from numpy_llama.precision import DTYPES
from numpy_llama.study.compare.row_order import NOTE
from numpy_llama.study.compare.their_dtype import computed_in
from numpy_llama.study.diagnose.case import Case
from numpy_llama.study.diagnose.diagnosis import Diagnosis
from numpy_llama.study.diagnose.from_logits import TIMES_BETTER, honest_runs, measured, pairs, singles
from numpy_llama.study.diagnose.inner import Followed, follow, suspects
from numpy_llama.study.diagnose.last_bit import LastBits, invisible_mistake, mistake_of_rounding
from numpy_llama.study.diagnose.said import described, from_walk, unexplained, with_numbers
from numpy_llama.study.diagnose.stranger import has_inner_values, understood
from numpy_llama.study.diagnose.unseen import what_would_show
from numpy_llama.study.subject import Subject
from numpy_llama.study.trace.trace import Trace

SUSPECTED = 3  # how many times nearer a mistake must come to be named as a suspicion


def diagnose(
    model: LlamaForCausalLM | Subject,
    theirs: Trace,
    *,
    dtype: str | None = None,
    catalogue: Mapping[str, Mistake] | None = None,
    thorough: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Diagnosis:
    """Say which known mistake, or pair of them, makes the model's logits those of a stranger.

    model      the reference: the same checkpoint that the stranger loaded. Of a Subject, the calls don't count
    theirs     input_ids and logits of one call or several; positions, masks and inner values where there are any
    dtype      that the stranger computes in; as the trace says unless given, or as its numbers look
    catalogue  key → Mistake: those that are tried; all unless given
    thorough   go on after a mistake that fits, to find others with the same logits, however long it takes
    progress   told how far it is, a line at a time
    returns    a Diagnosis. After Ctrl-C, one of what is known so far, with `interrupted` set
    raises     LlamaError where the trace can't be judged: no ids, another vocabulary, NaN, calls that don't follow
    """
    if catalogue is None:
        from numpy_llama.mistakes.catalogue import CATALOGUE  # it is large, and somebody may bring his own

        catalogue = CATALOGUE
    subject = model if isinstance(model, Subject) else Subject(model.config, in_memory(model.tensors), ())
    stranger = understood(theirs, subject.config, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a mistake may overflow, or go past the trained context, in each of many runs
        return _diagnosis(Case(subject, theirs, stranger, catalogue, progress, thorough))


def _diagnosis(case: Case) -> Diagnosis:
    if not has_inner_values(case.theirs):
        return _from_logits(case)
    dtypes = case.stranger.dtypes
    dtype = dtypes[0] if len(dtypes) == 1 else computed_in(case.theirs) or "float32"
    walks = [
        (follow(case.asked(name, dtype), case.theirs, dtype, case.catalogue, case.progress), name)
        for name in case.stranger.asked
    ]
    case.tried += sum(followed.tried for followed, _ in walks)
    case.interrupted = any(followed.stopped for followed, _ in walks)
    followed, convention = max(walks, key=lambda one: (one[0].end.wrong is None, -len(one[0].planted)))
    if followed.end.neighbours:
        case.stranger = replace(case.stranger, assumptions=(*case.stranger.assumptions, f"{NOTE}."))
    if followed.planted or case.interrupted or not case.stranger.logits:
        return from_walk(case, followed, convention, dtype)
    if followed.end.wrong is not None:
        return _from_logits_of_suspects(case, followed, convention)
    told = _told_by_last_bits(case, convention, dtype)
    if told is None:
        odd = next((place for place, pair in followed.end.pairs.items() if not pair.judged.agrees), None)
        if odd is not None:
            name = f"{case.theirs.calls[odd[0]].name}/{odd[1]}"
            sentence = f"{name} differs, though nothing that follows from it does: `numpy-llama compare` shows how."
            case.stranger = replace(case.stranger, assumptions=(*case.stranger.assumptions, sentence))
        return _from_logits(case)
    return replace(
        from_walk(case, followed, convention, dtype),
        verdict="mistake",
        mistakes=(told.key,),
        labels=(told.label,),
        equals=told.equals,
        last_bits=(told.value, told.before, told.after),
    )


def _from_logits_of_suspects(case: Case, followed: Followed, convention: str) -> Diagnosis:
    """No mistake explains the first value that disagrees: of those that begin there, one may still come near."""
    few = {mistake.key: mistake for mistake in suspects(followed.start, case.catalogue, same_block=False)}
    narrowed = replace(case, catalogue=few, unseen=[])
    found = _from_logits(narrowed)
    case.interrupted = narrowed.interrupted
    unseen, add = what_would_show(case.asked(convention), case.catalogue, narrowed.unseen)
    return replace(
        found,
        first=followed.first,
        unexplained=None if found.verdict in ("mistake", "pair") else unexplained(case, followed),
        unseen=tuple(key for key in unseen if key not in found.mistakes),
        add=add,
    )


def _told_by_last_bits(case: Case, convention: str, dtype: str) -> LastBits | None:
    """A mistake that is smaller than the error bars, or shows in no logits, where inner values tell."""
    subject = case.asked(convention, dtype)
    case.progress("the last bits")
    found = None
    if DTYPES[dtype].itemsize == 2:
        found = mistake_of_rounding(subject, case.theirs, dtype, case.catalogue)
    return found or invisible_mistake(subject, case.theirs, case.catalogue)


def _from_logits(case: Case) -> Diagnosis:
    honest = honest_runs(case)
    baseline = honest[0]
    before = baseline.distance.rms
    if baseline.agrees:
        return with_numbers(case, Diagnosis("agrees"), baseline, baseline.distance, baseline.bar)
    trials = singles(case, honest)
    visible = sorted((one for one in trials if one.keys[0] not in case.unseen), key=lambda one: one.distance.rms)
    best, distance, bar, fits = measured(case, visible, baseline)
    if best is None:
        return described(case, "unknown", baseline, None, baseline.distance, baseline.bar, visible)
    if fits and distance.rms * TIMES_BETTER <= before:
        return described(case, "mistake", baseline, best, distance, bar, visible)
    least = min(before, case.measure.spread)
    couples = pairs(case, visible, baseline)
    pair, pair_distance, pair_bar, pair_fits = measured(case, couples, baseline)
    enough = min(distance.rms, before) / TIMES_BETTER
    enough = enough if pair_fits else min(enough, least / SUSPECTED)
    if pair is not None and pair_distance.rms <= enough:
        verdict = "pair" if pair_fits else "partly"
        return described(case, verdict, baseline, pair, pair_distance, pair_bar, [*couples, *visible])
    if distance.rms * SUSPECTED <= least:
        return described(case, "partly", baseline, best, distance, bar, visible)
    return described(case, "unknown", baseline, None, distance, bar, visible)
