"""Judge a file: its functions, in a process of their own, against the properties of their blocks.

    report = judge_file(Path("rms_norm.py"))
    report.passed, report.verdicts, report.mistakes

An unfinished function does what it likes: it loops for ever, prints, asks for all the memory, ends the process. So it
runs in a process that has a limit of time and of memory, and what it prints goes nowhere. That is a fence against
accidents, not against malice: don't judge a file that you wouldn't run.

The process is `python -m numpy_llama.conformance.student FILE LOG MEMORY`. It writes a line of JSON to LOG before and
after every property, so that a report can be made whenever and however it ends.
"""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from numpy_llama.conformance import MEMORY, SECONDS
from numpy_llama.conformance.port import Port
from numpy_llama.errors import LlamaError

SHOWN = 12  # numbers of an array that a report prints


@dataclass(frozen=True)
class Finding:
    """What became of one property, in text.

    example        smallest failing example: each drawn value, printed
    expected, got  printed; empty where there are none
    """

    name: str
    sentence: str
    passed: bool
    message: str = ""
    example: Mapping[str, str] | None = None
    expected: str = ""
    got: str = ""


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
    nothing
                     to judge with: hypothesis isn't installed
    """
    if importlib.util.find_spec("hypothesis") is None:
        raise LlamaError(
            "hypothesis isn't installed", expected="the extra: pip install '.[conformance]', or pip install hypothesis"
        )
    if not path.is_file():
        raise LlamaError("no such file", where=path)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        ended = _run(path, log, seconds, memory, folder)
        lines = _read_log(log)
    kinds = ("functions", "cannot", "begin", "finding", "mistakes", "end")
    by_kind: dict[str, list[Any]] = {kind: [] for kind in kinds}
    for line in lines:
        for kind, content in line.items():
            by_kind.get(kind, []).append(content)
    if by_kind["cannot"]:
        raise LlamaError(by_kind["cannot"][0], where=path)
    findings = [Finding(**finding) for finding in by_kind["finding"]]
    stopped = ""
    if not by_kind["end"]:
        during = by_kind["begin"][-1] if len(by_kind["begin"]) > len(findings) else ""
        stopped = _why(ended, seconds, memory, during, bool(by_kind["functions"]))
    return Report(
        file=str(path),
        functions=by_kind["functions"][0] if by_kind["functions"] else [],
        passed=not stopped and all(finding.passed for finding in findings),
        findings=findings,
        stopped=stopped,
        mistakes=by_kind["mistakes"][0] if by_kind["mistakes"] else [],
    )


def _run(path: Path, log: Path, seconds: float, memory: int, folder: str) -> int | None:
    """Start the process and wait. Returns its exit status; None where time was up."""
    command = [sys.executable, "-m", "numpy_llama.conformance.student", str(path.resolve()), str(log), str(memory)]
    # One thread: BLAS reserves memory for each, and small arrays are no faster with more.
    settings = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HYPOTHESIS_STORAGE_DIRECTORY": folder}
    settings["PYTHONDONTWRITEBYTECODE"] = "1"  # no __pycache__ beside the student's file
    # The process is to find the package that this one has, installed or not.
    search = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    settings["PYTHONPATH"] = os.pathsep.join(filter(None, search))
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **settings},
        start_new_session=True,  # so that whatever it starts can be ended with it
    )
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _read_log(log: Path) -> list[dict[str, Any]]:
    if not log.exists():
        return []
    lines = []
    for line in log.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):  # a last line that was cut off
            lines.append(json.loads(line))
    return lines


def _why(status: int | None, seconds: float, memory: int, during: str, loaded: bool) -> str:
    place = f"while this was tried: {during}" if during else ("" if loaded else "while the file was loaded")
    if status is None:
        what = f"not finished after {seconds:g} s; a loop that doesn't end?"
    elif status < 0:
        what = f"the process was killed (signal {-status}); more than {memory / 1e9:.1f} GB of memory?"
    else:
        what = f"the file ended the process itself (status {status})"
    return f"{what} ({place})" if place else what


# -- inside the process --------------------------------------------------------------------------------------


def _judge_here(path: Path, log: Path, memory: int) -> None:
    """Load the file and judge it, a line of JSON for each step."""
    with log.open("w", encoding="utf-8") as file:

        def tell(**line: Any) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        # All of ours is imported before the limit is set and the file is loaded, so that neither can break it half-way.
        from numpy_llama.conformance.properties import PROPERTIES, block_of
        from numpy_llama.conformance.runner import TOO_LARGE, UNWRITTEN, sentence_of, try_property

        _limit_memory(memory)
        try:
            functions = _functions(_load(path))
        except _Unusable as reason:
            tell(cannot=str(reason))
            return
        if not functions:
            tell(cannot="no function to judge; expected one named " + ", ".join(sorted(_known())))
            return
        tell(functions=sorted(functions))
        port = Port().swap(**functions)
        failed = []
        for block in sorted({block_of(name) for name in functions}):
            for property_ in PROPERTIES[block]:
                tell(begin=sentence_of(property_))
                verdict = try_property(property_, port)
                tell(finding=asdict(_as_text(verdict)))
                if not verdict.passed:
                    failed.append((property_, verdict))
                    if verdict.message in (UNWRITTEN, TOO_LARGE):  # nothing more to learn from the others
                        tell(end=True)
                        return
        tell(mistakes=_mistakes_like(functions, failed))
        tell(end=True)


class _Unusable(Exception):
    """The file can't be judged."""


def _limit_memory(memory: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    with contextlib.suppress(ValueError, OSError):  # not where the system won't have it
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_loader("judged", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    try:
        code = compile(path.read_bytes(), str(path), "exec")
    except (SyntaxError, ValueError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise _Unusable(f"not valid Python{line}: {getattr(error, 'msg', error)}") from None
    sys.path.insert(0, str(path.parent))  # as Python does for a script
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1].lineno
        raise _Unusable(f"can't be loaded: {type(error).__name__} in line {last}: {error}") from None
    return module


def _known() -> set[str]:
    return {f.name for f in fields(Port)}


def _functions(module: ModuleType) -> dict[str, Any]:
    """The functions of a module that stand under the name of one of ours, and aren't ours."""
    ours = {name: getattr(Port(), name) for name in _known()}
    return {name: getattr(module, name) for name in ours if callable(getattr(module, name, None))
            and getattr(module, name) is not ours[name]}  # fmt: skip


def _as_text(verdict: Any) -> Finding:
    example = {name: show(value) for name, value in verdict.example.items()}
    expected = "" if verdict.expected is None else show(verdict.expected)
    got = "" if verdict.got is None else show(verdict.got)
    return Finding(verdict.name, verdict.sentence, verdict.passed, verdict.message, example, expected, got)


def show(value: Any) -> str:
    """A value for a report: arrays in full where they are small, with their dtype; never more than a few lines."""
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, np.ndarray | np.generic):
        # As float64, since NumPy prints a bfloat16 with digits that it doesn't have.
        numbers = np.asarray(value)
        if numbers.dtype.kind not in "iub":
            numbers = numbers.astype(np.float64)
        text = np.array2string(numbers, precision=6, separator=", ", threshold=SHOWN, edgeitems=3, suppress_small=False)
        return f"{text} ({np.asarray(value).dtype.name})"
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + " …"


def _mistakes_like(functions: Mapping[str, Any], failed: list[tuple[Any, Any]]) -> list[str]:
    """Names of the mistakes that go wrong on every failing example, and with the same numbers where there are
    numbers."""
    from numpy_llama.conformance.mistakes import MISTAKES
    from numpy_llama.conformance.runner import replay

    if not failed:
        return []
    return [
        mistake.name
        for mistake in MISTAKES.values()
        if mistake.field in functions
        and all(
            _alike(verdict, replay(property_, mistake.planted(Port()), verdict.example))
            for property_, verdict in failed
        )
    ]


def _alike(verdict: Any, other: Any) -> bool:
    if other.passed:
        return False
    if verdict.got is None or other.got is None:
        return bool(verdict.message == other.message)
    got, same = np.asarray(verdict.got), np.asarray(other.got)
    if got.shape != same.shape or got.dtype.kind == "O" or same.dtype.kind == "O":
        return False
    # The same formula in another order of operations; a thousandth is far above rounding, bar the two-byte dtypes'.
    return bool(np.allclose(got.astype(np.float64), same.astype(np.float64), rtol=2e-2, atol=1e-9, equal_nan=True))


if __name__ == "__main__":
    _judge_here(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
