"""The mistakes that explain the wrong logits of a whole model: each failing case is handed to the diagnosis.

One case shows several mistakes alike; several cases tell more of them apart. So a few are diagnosed, as unlike each
other as there are, and what is named is what explains them together.
"""

import warnings
from collections import Counter
from collections.abc import Sequence

from numpy_llama.conformance.foreign.whole_published import Compared
from numpy_llama.conformance.published_logits import tags
from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.model.config import LlamaConfig
from numpy_llama.study.diagnose import Diagnosis, diagnose
from numpy_llama.study.subject import Subject
from numpy_llama.study.trace.patterns import LOGITS
from numpy_llama.study.trace.trace import Trace, TracedCall

DIAGNOSED = 3


def named_mistakes(failed: Sequence[Compared]) -> list[str]:
    """What the mistakes that explain some failing cases say of a model, the likeliest first; often nothing.

    Where one case needs a mistake more than another, as in a port with several, it is the simpler one that counts.
    """
    named: list[tuple[str, ...]] = []
    first = Counter[tuple[str, ...]]()
    explained: list[str] = []
    for result in _unlike([result for result in failed if len(result.logits) == len(result.case.calls)]):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LlamaWarning)
                keys = _keys(diagnosed(result))
        except LlamaError:  # logits that nobody can diagnose: NaN throughout
            continue
        both = [key for key in named if key in keys] if named else keys
        if both:
            named = both
            first.update(keys[:1])
            explained.append(result.case.name)
    by_cases = f" (as {' and '.join(explained)} show{'s' if len(explained) == 1 else ''})"
    return [_says(keys) + by_cases for keys in sorted(named, key=lambda keys: -first[keys])]


def diagnosed(result: Compared) -> Diagnosis:
    """The diagnosis of one case's logits.

    raises  LlamaError where they can't be diagnosed
    """
    case, calls, past = result.case, [], 0
    for index, logits in enumerate(result.logits):
        given = case.inputs(index, result.dtype)
        calls.append(TracedCall(index, past, **given, values={LOGITS: logits}))
        past += given["input_ids"].shape[1]
    config = LlamaConfig.from_dict(case.description["config"])
    subject = Subject(config, case.weights(result.dtype), ())
    return diagnose(subject, Trace(calls, config.to_dict(), result.dtype, source=case.name))


def _unlike(failed: Sequence[Compared]) -> list[Compared]:
    """A few of them: the smallest of several tokens, then whatever shows most that wasn't shown yet."""
    left = [result for result in failed if "several tokens" in tags(result.case)] or list(failed)
    chosen: list[Compared] = []
    shown: set[str] = set()
    while left and len(chosen) < DIAGNOSED:
        best = max(left, key=lambda result: len(tags(result.case) - shown)) if chosen else left[0]
        chosen.append(best)
        left.remove(best)
        shown |= tags(best.case)
    return chosen


def _keys(found: Diagnosis) -> list[tuple[str, ...]]:
    if found.verdict not in ("mistake", "pair"):
        return []
    return [found.mistakes, *((key,) for key in found.equals)]


def _says(keys: tuple[str, ...]) -> str:
    from numpy_llama.mistakes.catalogue import CATALOGUE

    return ", and ".join(CATALOGUE[key].says for key in keys)
