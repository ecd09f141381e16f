"""Judge a file: its functions, in a process of their own, against the properties of their blocks.

    report = judge_file(Path("rms_norm.py"))
    report.passed, report.verdicts, report.mistakes

The process (apart.py says why) is `python -m numpy_llama.conformance.student FILE MEMORY LOG`. It writes a line to LOG
before and after every property.
"""

import importlib.util
import sys
import traceback
from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy_llama.conformance import MEMORY, SECONDS
from numpy_llama.conformance.apart import Unusable, limit_memory, run_apart, teller, why
from numpy_llama.conformance.findings import Finding, as_finding, mistakes_like
from numpy_llama.conformance.port import Port
from numpy_llama.errors import LlamaError


@dataclass(frozen=True)
class Report:
    """What became of a file.

    file       its path
    functions  names of the functions that were judged
    passed     whether every property of their blocks holds
    findings   one for each property, in order; fewer where the process was stopped
    stopped    why the process ended early, in plain words; empty where it didn't
    mistakes   names of the classic mistakes that give the same wrong numbers
    """

    file: str
    functions: list[str]
    passed: bool
    findings: list[Finding]
    stopped: str
    mistakes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return asdict(self)


def judge_file(path: Path, *, seconds: float = SECONDS, memory: int = MEMORY) -> Report:
    """Judge the functions of a file that have the name of one of ours.

    seconds, memory  limits of the process; memory in bytes, where the system can limit it
    raises           LlamaError where there is nothing to judge: no file, no Python, no function of a known name; or
                     nothing to judge with: hypothesis isn't installed
    """
    if importlib.util.find_spec("hypothesis") is None:
        raise LlamaError(
            "hypothesis isn't installed", expected="the extra: pip install '.[conformance]', or pip install hypothesis"
        )
    if not path.is_file():
        raise LlamaError("no such file", where=path)
    ended, told = run_apart(["-m", "numpy_llama.conformance.student", str(path.resolve()), str(memory)], seconds)
    by_kind = defaultdict(list, told)
    if by_kind["cannot"]:
        raise LlamaError(by_kind["cannot"][0], where=path)
    findings = [Finding(**finding) for finding in by_kind["finding"]]
    stopped = ""
    if not by_kind["end"]:
        during = by_kind["begin"][-1] if len(by_kind["begin"]) > len(findings) else ""
        stopped = why(ended, seconds, memory, during, bool(by_kind["functions"]))
    return Report(
        file=str(path),
        functions=by_kind["functions"][0] if by_kind["functions"] else [],
        passed=not stopped and all(finding.passed for finding in findings),
        findings=findings,
        stopped=stopped,
        mistakes=by_kind["mistakes"][0] if by_kind["mistakes"] else [],
    )


# -- inside the process --------------------------------------------------------------------------------------


def _judge_here(path: Path, memory: int, log: Path) -> None:
    """Load the file and judge it, a line of JSON for each step."""
    with teller(log) as tell:
        # All of ours is imported before the limit is set and the file is loaded, so that neither can break it half-way.
        from numpy_llama.conformance.properties import PROPERTIES, block_of
        from numpy_llama.conformance.runner import TOO_LARGE, UNWRITTEN, sentence_of, try_property

        limit_memory(memory)
        try:
            functions = _functions(load_file(path))
        except Unusable as reason:
            tell(cannot=str(reason))
            return
        if not functions:
            tell(cannot="no function to judge; expected one named " + ", ".join(sorted(known_functions())))
            return
        tell(functions=sorted(functions))
        port = Port().swap(**functions)
        failed = []
        for block in sorted({block_of(name) for name in functions}):
            for property_ in PROPERTIES[block]:
                tell(begin=sentence_of(property_))
                verdict = try_property(property_, port)
                tell(finding=asdict(as_finding(verdict, block)))
                if not verdict.passed:
                    failed.append((property_, verdict))
                    if verdict.message in (UNWRITTEN, TOO_LARGE):  # nothing more to learn from the others
                        tell(end=True)
                        return
        tell(mistakes=mistakes_like(functions, failed))
        tell(end=True)


def load_file(path: Path) -> ModuleType:
    """Run a Python file as a module.

    raises  Unusable where it isn't Python, or what it does on loading goes wrong
    """
    spec = importlib.util.spec_from_loader("judged", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    try:
        code = compile(path.read_bytes(), str(path), "exec")
    except (SyntaxError, ValueError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise Unusable(f"not valid Python{line}: {getattr(error, 'msg', error)}") from None
    sys.path.insert(0, str(path.parent))  # as Python does for a script
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1].lineno
        raise Unusable(f"can't be loaded: {type(error).__name__} in line {last}: {error}") from None
    return module


def known_functions() -> set[str]:
    """The names under which a function is looked for."""
    return {f.name for f in fields(Port)}


def _functions(module: ModuleType) -> dict[str, Any]:
    """The functions of a module that stand under the name of one of ours, and aren't ours."""
    ours = {name: getattr(Port(), name) for name in known_functions()}
    return {name: getattr(module, name) for name in ours if callable(getattr(module, name, None))
            and getattr(module, name) is not ours[name]}  # fmt: skip


if __name__ == "__main__":
    _judge_here(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
