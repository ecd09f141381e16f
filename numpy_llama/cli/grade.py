"""`numpy-llama grade`: judge a file of yours."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from numpy_llama.cli.arguments import Parser, positive_int, positive_number
from numpy_llama.cli.findings import failure_lines, verdict_lines
from numpy_llama.cli.terminal import visible
from numpy_llama.conformance import SECONDS
from numpy_llama.conformance.hints import HINTS
from numpy_llama.errors import LlamaError

if TYPE_CHECKING:
    from numpy_llama.conformance.student import Report

DESCRIPTION = """\
Judge a Python file of yours: an exercise of the tutorials, or any file with a
function of the same name as one of ours (rms_norm, apply_rope, attention, ...).

Each function is tried on many small examples of what its block must do, in all
four dtypes. Where something doesn't hold, the smallest example that shows it is
printed, with the numbers expected and the numbers that came; and if they are
those of a well-known mistake, its name.

The file runs in a process of its own, with a limit of time and memory, and what
it prints is thrown away. It isn't locked in: judge no file that you wouldn't
run.
"""
EPILOG = """\
status: 0 all holds, 1 something doesn't, 2 the file can't be judged

examples:
  numpy-llama grade tutorials/exercises/rms_norm.py
  numpy-llama grade tutorials/exercises/rms_norm.py --hint 1
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser(
        "grade", help="judge your solution of an exercise", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the Python file to judge")
    parser.add_argument("--hint", type=positive_int, metavar="N", help="print hint N instead of judging")
    parser.add_argument("--all", action="store_true", help="show every property that fails, not the first alone")
    parser.add_argument(
        "--timeout",
        type=positive_number,
        metavar="SECONDS",
        default=SECONDS,
        help=f"stop after so long; default: {SECONDS:g}",
    )
    parser.add_argument("--json", action="store_true", help="for programs rather than people")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Write the verdict to stdout; returns 0 where all holds, 1 where something doesn't."""
    if arguments.hint is not None:
        print(hint(arguments.file, arguments.hint))
        return 0
    from numpy_llama.conformance.student import judge_file

    report = judge_file(arguments.file, seconds=arguments.timeout)
    print(json.dumps(report.as_dict(), indent=2) if arguments.json else as_text(report, arguments.all))
    return 0 if report.passed else 1


def hint(file: Path, number: int) -> str:
    """Hint `number` of the exercise in a file, which its name tells.

    raises  LlamaError where there is no such exercise, or no such hint
    """
    hints = HINTS.get(file.stem)
    if hints is None:
        raise LlamaError("no hints for this file", where=file, expected="an exercise: " + ", ".join(sorted(HINTS)))
    if number > len(hints):
        raise LlamaError("no such hint", where=f"--hint {number}", expected=f"1 … {len(hints)}")
    left = len(hints) - number
    more = f"\n({left} more.)" if left else ""
    return f"Hint {number} of {len(hints)}: {hints[number - 1]}{more}"


def as_text(report: "Report", show_all: bool = False) -> str:
    """The report for a person: what holds, the first thing that doesn't with its smallest example, what to do next."""
    lines = [f"{visible(report.file)}: {', '.join(report.functions) or 'nothing judged'}", ""]
    failed = [finding for finding in report.findings if not finding.passed]
    if failed and failed[0].message == "isn't written yet":
        return "\n".join([*lines, "  Not written yet: the function raises NotImplementedError.", *_next(report)])
    lines += verdict_lines(report.findings)
    if report.stopped:
        lines.append(f"  ✗ stopped: {visible(report.stopped)}")
    for finding in failed if show_all else failed[:1]:
        lines += ["", *failure_lines(finding)]
    if report.mistakes:
        lines += ["", "These are the numbers of a well-known mistake: " + " or: ".join(report.mistakes) + "."]
    held = len(report.findings) - len(failed)
    if report.passed:
        lines += ["", f"All {held} properties hold. Well done."]
    elif report.findings:
        lines += ["", f"{held} of {len(report.findings)} properties that were tried hold."]
    if len(failed) > 1 and not show_all:
        lines.append("Shown is the first that fails; --all shows every one.")
    return "\n".join(lines + ([] if report.passed else _next(report)))


def _next(report: "Report") -> list[str]:
    stem = Path(report.file).stem
    return ["", f"Stuck? numpy-llama grade {visible(report.file)} --hint 1"] if stem in HINTS else []
