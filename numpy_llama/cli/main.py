"""The door of the command `numpy-llama`: which sub-command, and what a person sees when something goes wrong.

status 0     done
status 2     something given was wrong; one line on stderr says what
status 130   stopped by Ctrl-C; what was written so far stands
status 141   whoever read the output stopped reading (`| head`)
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper

from numpy_llama.cli import (
    bench,
    chat,
    compare,
    conformance,
    convert,
    diagnose,
    generate,
    grade,
    inspect,
    mask,
    quantize,
    step,
    tokenize,
    trace,
)
from numpy_llama.cli.arguments import Parser
from numpy_llama.cli.terminal import NAME, note, warnings_as_notes
from numpy_llama.errors import LlamaError
from numpy_llama.version import __version__

COMMANDS = (
    generate, chat, tokenize, inspect, convert, quantize, mask,
    grade, bench, diagnose, conformance, step, trace, compare,
)  # fmt: skip

DESCRIPTION = """\
numpy_llama: the Llama family in NumPy, to read, to step through and to check
other implementations against.

A language model is a function from a text to a guess of what comes next. Text
is cut into tokens, numbers from a vocabulary (tokenize); the numbers go through
a stack of layers made of weights (inspect); out comes one score for each token
that could follow, one is drawn, and so on (generate).
"""
EPILOG = """\
start here:
  numpy-llama generate "Once upon a time"
  numpy-llama tokenize "Once upon a time"
  numpy-llama inspect

A small model is on board, so none of these needs a download or a network.
`numpy-llama COMMAND --help` says more about each.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; argv is sys.argv[1:] unless given. Returns the exit status."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what the terminal can't show is no reason to stop
    with warnings_as_notes():
        try:
            status = _run(argv)
            if sys.stdout is not None:
                sys.stdout.flush()  # a full disk or a closed pipe may show itself only now
        except LlamaError as error:
            note(str(error))
            status = 2
        except KeyboardInterrupt:
            status = 130
        except BrokenPipeError:
            _forget_stdout()
            status = 141
        except MemoryError:
            note("not enough memory")
            status = 2
        except OSError as error:
            _forget_stdout()
            note(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
            status = 2
        return status


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as exit:  # --help and --version end so
        return int(exit.code or 0)
    if arguments.command is None:
        parser.print_help()
        return 0
    status: int = arguments.run(arguments)
    return status


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command; each sub-command adds its own part."""
    parser = Parser(prog=NAME, description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"{NAME} {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for command in COMMANDS:
        command.add_parser(subparsers).set_defaults(run=command.run)
    return parser


def _forget_stdout() -> None:
    """Nobody can be written to; let Python not try again when it ends."""
    with suppress(OSError, ValueError, AttributeError):  # where it is no real file, there is nothing to forget
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
