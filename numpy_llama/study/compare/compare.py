"""Compare a trace of somebody else's Llama with ours, value by value, in order of computation.

    comparison = compare_traces(read_trace("theirs.safetensors"), model)
    comparison.first                    # the first value that disagrees, where and how; None where all agree
    comparison.status                   # 0 agree, 1 disagree, 2 can't be compared

Our model is asked the same twice. Once from the beginning: that shows the first value that disagrees. And once going
on from *their* values, each put in the place of ours: that shows which later values are wrong by themselves, and which
only follow from what was wrong before them.
"""

from collections.abc import Callable
from dataclasses import replace

from numpy_llama.errors import LlamaError
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.values import computation_order, value_named
from numpy_llama.study.compare.calls import asked_again, check_config, lined_up, with_positions_that_skip_padding
from numpy_llama.study.compare.comparison import AGREES, DIFFERS, ELSEWHERE, MISFIT, Comparison, Finding
from numpy_llama.study.compare.descent import sources
from numpy_llama.study.compare.difference import difference
from numpy_llama.study.compare.elsewhere import whose, without_consequence
from numpy_llama.study.compare.expected import config_of, from_model, from_trace, without_model
from numpy_llama.study.compare.hidden import NOTE as WITHOUT_MASK
from numpy_llama.study.compare.hidden import is_scores
from numpy_llama.study.compare.known import all_known
from numpy_llama.study.compare.pairing import Pairs, check_something, judged_again, paired
from numpy_llama.study.compare.put_in import put_in
from numpy_llama.study.compare.row_order import (
    NOTE,
    WRONG_PAIRS,
    in_neighbours_order,
    pairs_halves,
    told_from_their_values,
)
from numpy_llama.study.compare.their_dtype import told_dtype
from numpy_llama.study.compare.unknown_names import nearest_names
from numpy_llama.study.subject import Asked, Subject
from numpy_llama.study.trace.trace import Trace
from numpy_llama.study.trace.understanding import UNKNOWN

COUNTING = "texts are padded, and no position_ids given"


def compare_traces(
    theirs: Trace,
    model: LlamaForCausalLM | None = None,
    ours: Trace | None = None,
    *,
    their_dtype: str | None = None,
    tolerance: float = 1.0,
    decode: Callable[[int], str] | None = None,
) -> Comparison:
    """Hold a trace to our model, or to a trace of ours.

    theirs       what they computed; may be partial, and in another layout
    model        ours, with the weights that theirs has. Without one the error bars are a rule of thumb
    ours         a trace to compare with; unless given, the float64 truth of what theirs was asked
    their_dtype  that they computed in; unless given, it is told from the numbers
    tolerance    a factor on the error bars
    decode       token id → text, for messages
    returns      Comparison
    raises       LlamaError where the two can't be compared: another model, other prompts, nothing in common, only NaN
    """
    if model is None and ours is None:
        raise LlamaError("nothing to compare with", where=theirs.source, expected="a model, a trace of ours, or both")
    found = _compared(theirs, model, ours, their_dtype, tolerance, decode)
    skipping = with_positions_that_skip_padding(theirs)
    if found.first is None or skipping is theirs or model is None:
        return found
    other = _compared(skipping, model, ours, their_dtype, tolerance, decode)
    if other.first is not None and other.findings.index(other.first) <= found.findings.index(found.first):
        found.notes.append(f"{COUNTING}: they are taken to count padding; those that skip it agree no better")
        return found
    other.notes.append(f"{COUNTING}: they are taken to skip padding, with which more agrees")
    return other


def _compared(
    theirs: Trace,
    model: LlamaForCausalLM | None,
    ours: Trace | None,
    their_dtype: str | None,
    tolerance: float,
    decode: Callable[[int], str] | None,
) -> Comparison:
    """The same, with theirs taken at its word."""
    config = model.config if model is not None else config_of(ours)  # type: ignore[arg-type]
    dtype, notes = told_dtype(theirs, their_dtype)
    notes += [note for note in getattr(theirs, "notes", []) if not note.startswith(UNKNOWN)]  # they come last
    notes += check_config(theirs, config)
    theirs, ours = (theirs, None) if ours is None else lined_up(theirs, ours)
    asked, places, more = asked_again(theirs, ours)
    theirs = replace(theirs, calls=[theirs.calls[place] for place in places])
    if ours is not None:
        ours = replace(ours, calls=[ours.calls[place] for place in places if place < len(ours.calls)])
    subject = None
    if model is not None:
        subject = Subject(config, model.tensors, asked).in_dtype(dtype).in_dtype("float64")
        expected = from_model(subject, dtype, theirs)
        expected = expected if ours is None else from_trace(expected, ours)
    else:
        assert ours is not None
        expected = without_model(ours, asked, theirs, dtype)

    neighbours = in_neighbours_order(theirs, expected, config, tolerance)
    pairs, misfits = paired(theirs, expected, config, tolerance, neighbours)
    check_something(theirs, pairs, misfits)
    if subject is not None and not neighbours:
        neighbours = told_from_their_values(theirs, subject, dtype, pairs, config, tolerance)
        pairs, misfits = paired(theirs, expected, config, tolerance, neighbours) if neighbours else (pairs, misfits)
    notes += [NOTE] if neighbours else []
    if any(is_scores(name) and not pair.reading.mask_added for (_, name), pair in pairs.items()):
        notes.append(WITHOUT_MASK)
    layers = config.num_hidden_layers
    elsewhere = without_consequence(pairs, expected, config, dtype)
    local = None
    if subject is not None:
        given = {
            place: put_in(pair.reading, place[1])
            for place, pair in pairs.items()
            if place not in elsewhere and not pair.broken
        }
        local = judged_again(theirs, from_model(subject, dtype, theirs, given), pairs, config, tolerance, neighbours)

    findings = []
    pasts = [one.past for one in asked]
    for call, bars in enumerate(expected.bars):
        for name in bars:
            place = (call, name)
            if place in misfits:
                findings.append(Finding(theirs.calls[call].index, call, name, MISFIT, note=misfits[place]))
            elif place in pairs:
                near, _ = sources(name, lambda one, call=call: (call, one) in pairs, layers)  # type: ignore[misc]
                pair = pairs[place]
                here = None if local is None else local.get(place)
                broken = any(pairs[call, one].broken for one in near) or _cached_broken(pairs, call, name)
                if here is None:
                    follows = any(not pairs[call, one].judged.agrees for one in near)
                else:
                    follows = here.judged.agrees or broken
                agrees = pair.judged.agrees and (here is None or follows)
                verdict = AGREES if agrees else ELSEWHERE if place in elsewhere else DIFFERS
                follows = follows and not pair.judged.agrees
                how = None
                if not agrees and not (follows and any(finding.verdict == DIFFERS for finding in findings)):
                    shown = pair if here is None or here.judged.agrees else here
                    how = difference(shown.reading, shown.judged, name, config, dtype)
                findings.append(
                    Finding(
                        theirs.calls[call].index,
                        call,
                        name,
                        verdict,
                        pair.judged.typical,
                        pair.judged.worst,
                        None if here is None else here.judged.worst,
                        follows,
                        all_known(pairs, expected.names, pasts, place, layers),
                        pair.reading.note,
                        how,
                    )
                )
    comparison = Comparison(
        ours="our model" if ours is None else ours.source,
        theirs=theirs.source,
        dtype=dtype,
        bars=expected.how,
        kinds=[_kind(one) for one in asked],
        findings=findings,
        missing=[
            [name for name in names if name not in call.values] if call.values else []
            for names, call in zip(expected.names, theirs.calls, strict=False)
        ],
        unknown=[f"{call.name}/{name}" for call in theirs.calls for name in call.values if value_named(name) is None],
        nearest=nearest_names(expected.names, theirs),
        notes=notes + more,
        tokens=[[[decode(int(id)) for id in row] for row in one.input_ids] for one in asked] if decode else [],
    )
    first = comparison.first
    if first is not None:
        before, between = sources(first.name, lambda name: (first.place, name) in pairs, layers)
        comparison.before.extend(before)
        comparison.between.extend(sorted(between, key=computation_order))
        taken = whose(pairs, (first.place, first.name), expected)
        if taken:
            comparison.notes.append(f"{first.full_name} agrees with what ours calls {taken}")
        if neighbours and subject is not None:
            place = (first.place, first.name)
            wrong_pairs = pairs_halves(theirs, subject, dtype, place, config, tolerance)
            comparison.notes.extend([WRONG_PAIRS] if wrong_pairs else [])
    return comparison


def _kind(asked: Asked) -> str:
    return "prefill" if asked.past == 0 else "decode" if asked.input_ids.shape[1] == 1 else "chunk"


def _cached_broken(pairs: Pairs, call: int, name: str) -> bool:
    """Whether a value holds keys or values of a call before that weren't finite."""
    made_of = {".keys": (".key_rotated", ".keys"), ".values": (".v_proj", ".values")}
    for leaf, endings in made_of.items():
        if name.endswith(leaf):
            earlier = [(one, name.removesuffix(leaf) + ending) for one in range(call) for ending in endings]
            return any(place in pairs and pairs[place].broken for place in earlier)
    return False
