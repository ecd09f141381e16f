"""Which of several calls agree without any mistake: a mistake of decoding shows in no prefill."""

import numpy as np

from numpy_llama.study.diagnose.case import HONEST, Baseline, Case
from numpy_llama.study.diagnose.diagnosis import CallSeen
from numpy_llama.study.diagnose.inner import Walk
from numpy_llama.study.subject import Asked
from numpy_llama.study.trace.trace import LOGITS


def by_logits(case: Case, baseline: Baseline) -> tuple[CallSeen, ...]:
    """Of each call that has logits, whether those of its real positions are the honest run's."""
    found: dict[int, bool] = {}
    begin = 0
    for place, judged in enumerate(case.stranger.judged):
        if judged is not None and judged.any():
            end = begin + int(judged.sum())
            rms = float(np.sqrt(np.mean(baseline.distance.places[begin:end] ** 2)))
            found[place], begin = rms <= HONEST[baseline.dtype] * baseline.bar, end
    return _seen(case, baseline.convention, found)


def by_values(case: Case, walk: Walk, convention: str) -> tuple[CallSeen, ...]:
    """The same from a walk without a mistake: of calls without logits, whether all that follows from them agrees."""
    found: dict[int, bool] = {}
    for place in range(len(case.theirs.calls)):
        pairs = {name: pair for (call, name), pair in walk.pairs.items() if call == place}
        judged = [pairs[LOGITS]] if LOGITS in pairs else list(pairs.values())
        if judged:
            found[place] = all(pair.judged.agrees for pair in judged)
    return _seen(case, convention, found)


def _seen(case: Case, convention: str, found: dict[int, bool]) -> tuple[CallSeen, ...]:
    # Probabilities are judged as such: what agrees then isn't what ours returns.
    if len(found) < 2 or all(found.values()) or case.stranger.reading.mistake:
        return ()
    asked = case.stranger.asked[convention]
    return tuple(
        CallSeen(case.theirs.calls[place].index, _given(asked[place]), agrees) for place, agrees in found.items()
    )


def _given(asked: Asked) -> str:
    rows, new = asked.input_ids.shape
    kind = "prefill" if not asked.past else "decode step" if new == 1 else "chunk"
    words = kind if kind == "decode step" else f"{kind} of {new}"
    words += f" after {asked.past}" if asked.past else ""
    return words + (f", {rows} rows" if rows > 1 else "")
