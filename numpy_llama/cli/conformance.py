"""`numpy-llama conformance`: judge somebody's Llama, in Python or any other language."""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from numpy_llama.cli.arguments import Parser, checkpoint_folder, positive_int, positive_number
from numpy_llama.cli.findings import failure_lines, verdict_lines
from numpy_llama.cli.terminal import note, visible
from numpy_llama.errors import LlamaError
from numpy_llama.precision import DTYPES

if TYPE_CHECKING:
    from numpy_llama.conformance.foreign.report import ForeignReport

DESCRIPTION = """\
Judge somebody's Llama by what every Llama must do: the properties of each
block, and the numbers that Transformers gives.

In Python, name a module. Its functions that are named like ours (rms_norm,
apply_rope, attention, mlp, ...) are judged block by block; make(config,
weights) or logits(input_ids) as a whole model. Functions of other names, or
with other arguments, need a small adapter: a file with functions named like
ours that call yours.

For other languages, --emit writes questions into a folder, a program writes its
answers beside them, and --check judges those; --exec does all of it at once.

Where something doesn't hold, the smallest example that shows it is printed; and
if the numbers are those of a well-known mistake, its name. Code runs in a
process of its own, with a limit of time; it isn't locked in: judge nothing that
you wouldn't run.
"""
EPILOG = """\
status: 0 all that was tried holds, 1 something doesn't, 2 nothing can be judged

examples:
  numpy-llama conformance my_package.my_llama
  numpy-llama conformance my_package.my_llama --adapter adapter.py
  numpy-llama conformance adapter.py --arrays torch
  numpy-llama conformance --exec './my_llama {in} {out}' --only rms_norm
  numpy-llama conformance --emit questions
  numpy-llama conformance --check questions

docs/conformance.md has adapters for several layouts, and a program in C.
"""
WHOLE_MODEL = "the whole model"  # as a report calls it
KINDS = (
    "embedding linear rms_norm rope causal_mask softmax attention activations mlp sampler model"  # as emit.KINDS
).split()


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser(
        "conformance", help="judge somebody's Llama, in any language", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("module", nargs="?", metavar="MODULE", help="my_package.my_llama, or a .py file")
    parser.add_argument("--json", action="store_true", help="for programs rather than people")
    parser.add_argument("--all", action="store_true", help="show every property that fails, not the first alone")
    parser.add_argument(
        "--timeout",
        type=positive_number,
        metavar="SECONDS",
        help="stop after so long; default: 300 for a module, 10 for each question of --exec",
    )
    parser.add_argument(
        "--examples",
        type=positive_int,
        metavar="N",
        help="how many of each property; default: 30 for a module, 4 for questions in files",
    )
    python = parser.add_argument_group("a module")
    python.add_argument("--adapter", type=Path, metavar="FILE", help="functions named like ours that call the module's")
    python.add_argument(
        "--arrays", choices=("numpy", "torch", "jax"), default="numpy", help="what it computes with; default: numpy"
    )
    python.add_argument(
        "--dtypes", type=_dtypes, metavar="LIST", help="those to try; default: float64,float32; also float16,bfloat16"
    )
    python.add_argument(
        "--model",
        metavar="PATH",
        help="the checkpoint that its logits(input_ids) has loaded; default: the one on board",
    )
    files = parser.add_argument_group("a program in any language")
    files.add_argument("--emit", type=Path, metavar="DIR", help="write questions into a folder")
    files.add_argument("--check", type=Path, metavar="DIR", help="judge the answers in it")
    files.add_argument("--exec", metavar="COMMAND", help="ask a command every question: 'my_llama {in} {out}'")
    files.add_argument("--only", type=_kinds, metavar="LIST", help=f"with commas, some of {', '.join(KINDS)}")
    files.add_argument("--format", choices=("safetensors", "npy"), help="of the files; default: safetensors")
    files.add_argument("--dtype", choices=("float32", "float64"), help="of the numbers; default: float32")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Write the verdict to stdout; returns 0 where all holds, 1 where something doesn't, 2 where nothing was tried."""
    _check_choice(arguments)
    if arguments.module is not None:
        report = _judge_module(arguments)
    elif arguments.check is not None:
        report = _load("check").check(arguments.check)
    elif arguments.exec is not None:
        report = _ask_command(arguments)
    else:
        count = _emit(arguments, arguments.emit)
        note(f"written: {arguments.emit}, {count} questions; its README.md says what to do")
        return 0
    print(json.dumps(report.as_dict(), indent=2) if arguments.json else as_text(report, arguments.all))
    return report.status


def _judge_module(arguments: argparse.Namespace) -> "ForeignReport":
    from numpy_llama.conformance.foreign.judge import EXAMPLES, SECONDS, TRIED, judge_module

    return judge_module(
        arguments.module,
        adapter=arguments.adapter,
        arrays=arguments.arrays,
        dtypes=arguments.dtypes or TRIED,
        model=None if arguments.model is None else checkpoint_folder(arguments.model),
        examples=arguments.examples or EXAMPLES,
        seconds=arguments.timeout or SECONDS,
    )


def _ask_command(arguments: argparse.Namespace) -> "ForeignReport":
    command = _load("command")
    words = command.split_command(arguments.exec)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.emit or Path(temporary) / "questions"
        _emit(arguments, folder)
        reasons = command.ask_all(folder, words, arguments.timeout or command.SECONDS)
        return replace(_load("check").check(folder, reasons), target=arguments.exec)


def _emit(arguments: argparse.Namespace, folder: Path) -> int:
    emit = _load("emit")
    count: int = emit.emit(
        folder,
        only=arguments.only or KINDS,
        form=arguments.format or "safetensors",
        dtype=arguments.dtype or "float32",
        examples=arguments.examples or emit.EXAMPLES,
    )
    return count


def _load(name: str):  # type: ignore[no-untyped-def]
    """A module of the exchange of files; it needs hypothesis, an extra."""
    from importlib import import_module

    try:
        return import_module(f"numpy_llama.conformance.exchange.{name}")
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise LlamaError(
            "hypothesis isn't installed", expected="the extra: pip install '.[conformance]', or pip install hypothesis"
        ) from None


def _check_choice(arguments: argparse.Namespace) -> None:
    """raises  LlamaError where it isn't clear what to do, or an option has nothing to say there"""
    asked = [name for name in ("module", "check", "exec") if getattr(arguments, name) is not None]
    if not asked and arguments.emit is not None:
        asked = ["emit"]
    if len(asked) != 1 or (arguments.emit is not None and asked[0] not in ("emit", "exec")):
        raise LlamaError("what is to be judged?", expected="one of MODULE, --emit DIR, --check DIR, --exec COMMAND")
    idle = {
        "module": ("only", "format", "dtype"),
        "emit": ("adapter", "dtypes", "model", "timeout", "json"),
        "check": ("adapter", "dtypes", "model", "only", "format", "dtype", "timeout", "examples"),
        "exec": ("adapter", "dtypes", "model"),
    }[asked[0]]
    for name in idle:
        if getattr(arguments, name):
            where = "MODULE" if asked[0] == "module" else f"--{asked[0]}"
            raise LlamaError(f"--{name} says nothing together with {where}")


def as_text(report: "ForeignReport", show_all: bool = False) -> str:
    """The report for a person: what holds, what doesn't with its smallest example, what couldn't be tried, and why."""
    lines = [f"{visible(report.target)}: {', '.join(report.functions)}", ""]
    failed = [finding for finding in report.findings if not finding.passed]
    lines += verdict_lines(report.findings)
    lines += ["", "  couldn't be tried"] if report.not_tried else []
    lines += [f"    – {visible(sentence)} ({visible(why)})" for sentence, why in report.not_tried]
    if report.stopped:
        lines.append(f"  ✗ stopped: {visible(report.stopped)}")
    for finding in failed if show_all else failed[:1]:
        lines += ["", *failure_lines(finding)]
    lines += ["", *map(visible, report.notes)] if report.notes else []
    for what, names in report.mistakes.items():
        if names:
            those = (
                "its logits are those of a Llama"
                if what == WHOLE_MODEL
                else "its numbers are those of a known mistake:"
            )
            lines += ["", f"{visible(what)}: {those} {visible(', or '.join(names))}."]
    tried, held = len(report.findings), len(report.findings) - len(failed)
    untried = f" What couldn't be tried is marked –: {len(report.not_tried)}." if report.not_tried else ""
    if report.passed:
        lines += ["", f"All {held} properties that were tried hold.{untried}"]
    elif tried:
        lines += ["", f"{held} of {tried} properties that were tried hold.{untried}"]
    else:
        lines += ["", "Nothing could be judged."]
    if len(failed) > 1 and not show_all:
        lines.append("Shown is the first that fails; --all shows every one.")
    return "\n".join(lines)


def _dtypes(text: str) -> tuple[str, ...]:
    return _names(text, tuple(DTYPES))


def _kinds(text: str) -> tuple[str, ...]:
    return _names(text, tuple(KINDS))


def _names(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}, found {name!r}")
    return names
