"""Judge what was answered: every property again on what it drew, with the answers in the place of our function.

    report = check(Path("DIR"))

What wasn't answered isn't judged, and is said. An answer that has the wrong shape or dtype is one that doesn't hold.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.conformance.exchange.answers import Asked, Unanswered
from numpy_llama.conformance.exchange.recording import key_of, listening, outputs_of_names
from numpy_llama.conformance.exchange.written import decoded
from numpy_llama.conformance.findings import Finding, as_finding, mistakes_like
from numpy_llama.conformance.foreign.judge_model import WHOLE_MODEL, published_finding
from numpy_llama.conformance.foreign.report import ForeignReport
from numpy_llama.conformance.foreign.whole_mistakes import named_mistakes
from numpy_llama.conformance.foreign.whole_published import Compared
from numpy_llama.conformance.published import ALL_PROPERTIES
from numpy_llama.conformance.published_logits import compare_logits, in_common, logits_cases
from numpy_llama.conformance.rounding import Broken
from numpy_llama.conformance.runner import Verdict, replay, sentence_of
from numpy_llama.errors import LlamaError

NAMED = 4  # questions that a verdict names, the last of those it needed


def check(folder: Path, reasons: Mapping[str, str] | None = None) -> ForeignReport:
    """Judge the answers in a folder that was emitted.

    reasons  why some questions have no answer, by name: what became of a command
    raises   LlamaError where it is no such folder, it is damaged or changed, or nothing in it was answered
    """
    asked, reasons = Asked.read(folder), reasons or {}
    findings: list[Finding] = []
    mistakes: dict[str, list[str]] = {}
    notes: list[str] = []
    unanswered: dict[str, str] = {}
    answered = sorted({case["function"] for name, case in asked.cases.items() if asked.has_answer(name)})
    if not answered:
        why = f": {next(iter(reasons.values()))}" if reasons else ""
        raise LlamaError(f"no answers{why}", where=asked.out, expected=f"some of {len(asked.cases)}, in out/NAME/")
    for function in answered:
        failed_here = {name: why for name, why in reasons.items() if asked.cases[name]["function"] == function}
        if failed_here:
            findings.append(_unfinished(function, failed_here))
        if function == "model":
            tried = list(_models(asked, unanswered))
            failed = [result for result in tried if result.broken is not None]
            if tried:
                findings.append(published_finding(tried, failed))
            if failed:
                common = in_common([r.case for r in failed], [r.case for r in tried if r.broken is None])
                notes += [common] if common else []
                mistakes[WHOLE_MODEL] = named_mistakes(failed)
            continue
        failures = []
        for property_, verdict in _properties(asked, function, unanswered):
            findings.append(as_finding(verdict, function))
            if not verdict.passed:
                failures.append((property_, verdict))
        mistakes[function] = mistakes_like({function}, failures)
    functions = {case["function"] for case in asked.cases.values()}
    not_tried = _missing(asked, functions - set(answered), unanswered, reasons)
    return ForeignReport(str(folder), answered, findings, not_tried, mistakes=mistakes, notes=notes)


def _properties(asked: Asked, function: str, unanswered: dict[str, str]) -> Iterator[tuple[Any, Verdict]]:
    """Each property that calls a function, and the verdict on its smallest example that fails."""
    names = asked.by_key()
    entries = defaultdict(list)
    for entry in asked.index["properties"]:
        if entry["function"] == function:
            entries[entry["block"], entry["property"]].append(entry)
    for (block, name), examples in entries.items():
        property_ = next((p for p in ALL_PROPERTIES.get(block, ()) if p.__name__ == name), None)
        if property_ is None:
            continue  # emitted by a version that had more of them
        verdicts = []
        for entry in examples:
            drawn = {key: decoded(value) for key, value in entry["drawn"].items()}
            held_back: list[str] = []
            looked_up: list[str] = []
            port = listening(function, _answering(asked, function, names, looked_up, held_back, unanswered))
            verdict = replay(property_, port, drawn)
            if not held_back:
                verdicts.append((_size(drawn), verdict, looked_up))
        if verdicts:
            failed = sorted((v for v in verdicts if not v[1].passed), key=lambda v: v[0])
            yield (
                property_,
                _with_questions(asked, *failed[0][1:]) if failed else Verdict(name, sentence_of(property_), True),
            )


def _answering(
    asked: Asked,
    function: str,
    names: Mapping[str, str],
    looked_up: list[str],
    held_back: list[str],
    unanswered: dict[str, str],
) -> Callable[[dict[str, Any], Callable[[], Any]], Any]:
    """What stands in our function's place: it looks answers up. Where there is none, ours goes on, and it is noted.

    looked_up, held_back  names of questions, filled as they are come to: all; those without an answer
    """

    def answer(arguments: dict[str, Any], go_on: Callable[[], Any]) -> Any:
        name = names.get(key_of(function, arguments))
        if name is None:  # a property that goes on with what it was answered, or of another version
            held_back.append(function)
            return go_on()
        looked_up.append(name)
        try:
            outputs = asked.answer(name)
        except Unanswered as reason:
            unanswered[name] = str(reason)
            held_back.append(name)
            return go_on()
        parts = tuple(outputs[output] for output in outputs_of_names(function))
        return parts if len(parts) > 1 else parts[0]

    return answer


def _models(asked: Asked, unanswered: dict[str, str]) -> Iterator[Compared]:
    published = {case.name: case for case in logits_cases()}
    for name, about in asked.cases.items():
        case = published.get(about.get("published", ""))
        if case is None:
            continue
        logits: list[np.ndarray] = []
        broken = None
        for index, output in enumerate(about["outputs"]):
            try:
                got = asked.answer(name, [output])[output]
                logits.append(got)
                compare_logits(case, index, asked.index["dtype"], got)
            except Unanswered as reason:
                unanswered[name] = str(reason)
                break  # what comes after can't be told apart from a wrong cache
            except Broken as error:
                broken = broken or error
        if logits or broken:
            yield Compared(case, asked.index["dtype"], broken, logits=tuple(logits))


def _unfinished(function: str, failed: Mapping[str, str]) -> Finding:
    name, why = next(iter(failed.items()))
    more = f" ({len(failed)} questions in all)" if len(failed) > 1 else ""
    return Finding(
        "answers", f"Every question to {function} is answered.", False, f"{name}: {why}{more}", block=function
    )


def _missing(
    asked: Asked, untouched: set[str], unanswered: Mapping[str, str], reasons: Mapping[str, str]
) -> list[tuple[str, str]]:
    """What wasn't answered, in words."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for function in sorted(untouched):
        names = [name for name, case in asked.cases.items() if case["function"] == function]
        by_reason[next((reasons[name] for name in names if name in reasons), "")].append(f"{function} ({len(names)})")
    found = [
        (", ".join(functions), "not answered" + (f": {why}" if why else "")) for why, functions in by_reason.items()
    ]
    damaged = {name: why for name, why in unanswered.items() if name not in reasons}
    for function in sorted({asked.cases[name]["function"] for name in damaged}):
        names = [name for name in damaged if asked.cases[name]["function"] == function]
        more = f", and {len(names) - 1} more" if len(names) > 1 else ""
        found.append((f"{len(names)} of the questions to {function}", f"not answered: {damaged[names[0]]}{more}"))
    return found


def _size(drawn: Mapping[str, Any]) -> int:
    return sum(value.size if isinstance(value, np.ndarray) else 1 for value in drawn.values())


def _with_questions(asked: Asked, verdict: Verdict, looked_up: list[str]) -> Verdict:
    """A verdict that names the questions it needed, the last of which showed the mistake, and shows the last one's
    inputs."""
    questions = list(dict.fromkeys(looked_up))
    if not questions:
        return verdict
    last, more = questions[-1], "…, " if len(questions) > NAMED else ""
    inputs = asked.inputs(last)
    return replace(
        verdict,
        message=f"{verdict.message} (in {more}{', '.join(questions[-NAMED:])})",
        example={**verdict.example, **{f"{last}: {name}": array for name, array in inputs.items()}},
    )
