"""Judge a module of somebody's, in a process of its own.

    report = judge_module("my_package.my_llama", adapter=Path("adapter.py"), arrays="torch")
    report.passed, report.findings, report.mistakes

The process is `python -m numpy_llama.conformance.foreign.judge REQUEST LOG`; what it has to say it writes to LOG,
before and after every property.
"""

import importlib.util
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from numpy_llama.conformance.apart import Unusable, limit_memory, run_apart, teller, why
from numpy_llama.conformance.findings import Finding, as_finding, mistakes_like
from numpy_llama.conformance.foreign.report import ForeignReport
from numpy_llama.errors import LlamaError

Tell = Callable[..., None]
Attempt = Callable[[Any, Any, Tell], Any]
TRIED = ("float64", "float32")
SECONDS = 300.0
EXAMPLES = 30  # of each property, as in runner.py
MEMORY = 4 * 1024**3  # bytes of address space, for NumPy; torch and JAX reserve far more than they use


def judge_module(
    target: str,
    *,
    adapter: Path | None = None,
    arrays: str = "numpy",
    dtypes: Sequence[str] = TRIED,
    model: Path | None = None,
    examples: int = EXAMPLES,
    seconds: float = SECONDS,
) -> ForeignReport:
    """Judge the functions of a module that have the name of one of ours, and a whole model where it has one.

    target   dotted name of the module, or a .py file
    adapter  a .py file whose functions stand before the module's
    arrays   what the functions are given: numpy, torch or jax arrays
    dtypes   those they are tried in; a whole model in the first of them that isn't float64, if there is one
    examples how many of each property to try
    model    the checkpoint that their `logits` has loaded; the embedded model unless given
    raises   LlamaError where there is nothing to judge, or nothing to judge with
    """
    if importlib.util.find_spec("hypothesis") is None:
        raise LlamaError(
            "hypothesis isn't installed", expected="the extra: pip install '.[conformance]', or pip install hypothesis"
        )
    request = {
        "target": target,
        "adapter": None if adapter is None else str(adapter),
        "arrays": arrays,
        "dtypes": list(dtypes),
        "model": None if model is None else str(model),
        "examples": examples,
    }
    ended, told = run_apart(["-m", "numpy_llama.conformance.foreign.judge", json.dumps(request)], seconds)
    by_kind = defaultdict(list, told)
    if by_kind["cannot"]:
        raise LlamaError(by_kind["cannot"][0], where=target)
    findings = [Finding(**finding) for finding in by_kind["finding"]]
    stopped = ""
    if not by_kind["end"]:
        during = by_kind["begin"][-1] if len(by_kind["begin"]) > len(by_kind["finding"]) + len(by_kind["skip"]) else ""
        stopped = why(ended, seconds, MEMORY if arrays == "numpy" else None, during, bool(by_kind["functions"]))
        if not by_kind["functions"]:
            raise LlamaError(stopped, where=target)
    return ForeignReport(
        target=target,
        functions=by_kind["functions"][0],
        findings=findings,
        not_tried=[tuple(pair) for pair in by_kind["not_tried"]],
        stopped=stopped,
        mistakes={name: mistakes for entry in by_kind["mistakes"] for name, mistakes in entry.items()},
        notes=[*by_kind["note"], *(hints(findings) if arrays == "numpy" else ())],
    )


# What Python says of NumPy's arrays in code written for others: an attribute they don't have, and torch's complaint.
_NO_NUMPY = re.compile(r"raised \w*Error\b.*('numpy\.\w+' object has no attribute|must be .*, not numpy\.ndarray)")


def hints(findings: Sequence[Finding]) -> list[str]:
    """What may help somebody whose code was given NumPy arrays, as sentences."""
    if any(_NO_NUMPY.match(finding.message) for finding in findings):
        return ["It was given NumPy arrays, and treats them as others: --arrays torch or --arrays jax gives it those."]
    return []


# -- inside the process --------------------------------------------------------------------------------------


def _judge_here(request: dict[str, Any], log: Path) -> None:
    """Load what is to be judged and judge it, a line of JSON for each step."""
    with teller(log) as tell:
        # All of ours is imported before the limit is set and anything of theirs is loaded.
        from numpy_llama.conformance.foreign import functions as theirs
        from numpy_llama.conformance.foreign.arrays import Border

        if request["arrays"] == "numpy":
            limit_memory(MEMORY)
        os.environ.setdefault("JAX_ENABLE_X64", "1")  # float64 in JAX; it is read when JAX is imported
        try:
            names = [name for name in (request["target"], request["adapter"]) if name is not None]
            functions = theirs.functions_of([theirs.load(name) for name in names])
            border = Border(request["arrays"])
        except Unusable as reason:
            tell(cannot=str(reason))
            return
        tell(functions=sorted(functions))
        tried = partial(attempt, examples=request["examples"])
        judge_blocks(functions, border, request["dtypes"], tell, tried)
        judge_whole(functions, border, request["dtypes"], request["model"], tell, tried)
        tell(end=True)


def attempt(property_: Any, port: Any, tell: Tell, examples: int = EXAMPLES) -> Any:
    """The verdict on one property; None, and a reason told, where no example of it could be tried."""
    from hypothesis.errors import Unsatisfiable

    from numpy_llama.conformance.runner import sentence_of, try_property

    tell(begin=sentence_of(property_))
    try:
        return try_property(property_, port, examples=examples)
    except Unsatisfiable as reason:
        why = str(reason) if str(reason).startswith("needs ") else "it isn't implemented there"  # see asked_dtypes.py
        tell(not_tried=[sentence_of(property_), why])
        tell(skip=True)
        return None


def judge_blocks(
    functions: dict[str, Callable], border: Any, dtypes: Sequence[str], tell: Tell, attempt: Attempt = attempt
) -> None:
    """Try every property of every block that there is a function of."""
    from numpy_llama.conformance.asked_dtypes import in_dtypes
    from numpy_llama.conformance.foreign.functions import cannot_be_called, port_of
    from numpy_llama.conformance.properties import block_of
    from numpy_llama.conformance.published import ALL_PROPERTIES

    usable = {}
    for name, function in functions.items():
        reason = cannot_be_called(name, function)
        if reason:
            tell(not_tried=[name, reason])
        elif name not in ("make", "logits"):
            usable[name] = function
    from numpy_llama.precision import DTYPES

    dtypes = [name for name in dtypes if border.holds(DTYPES[name])]
    port, calls = port_of(usable, border, dtypes)
    for block in sorted({block_of(name) for name in usable}):
        failed = []
        for property_ in ALL_PROPERTIES[block]:
            calls.made = calls.refused = 0
            verdict = attempt(in_dtypes(property_, dtypes), port, tell)
            if verdict is None:
                continue
            if not calls.made and verdict.passed:  # a property of the block's other functions, which are ours
                tell(skip=True)
                continue
            tell(finding=asdict(as_finding(verdict, block)))
            if not verdict.passed:
                failed.append((property_, verdict))
        tell(mistakes={block: mistakes_like(set(usable), [pair for pair in failed if pair[1].example is not None])})


def judge_whole(
    functions: dict[str, Callable],
    border: Any,
    dtypes: Sequence[str],
    model: str | None,
    tell: Tell,
    attempt: Attempt = attempt,
) -> None:
    """Hold whole models to the properties of one, and to published logits."""
    from numpy_llama.conformance.foreign import judge_model

    dtype = next((name for name in dtypes if name != "float64"), dtypes[0])
    if "make" in functions:
        judge_model.judge_make(functions["make"], border, dtype, tell, attempt)
    if "logits" in functions:
        judge_model.judge_loaded(functions["logits"], border, dtype, model, tell, attempt)


if __name__ == "__main__":
    _judge_here(json.loads(sys.argv[1]), Path(sys.argv[2]))
