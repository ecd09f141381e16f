"""`numpy-llama step`: a debugger for the forward pass."""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from numpy_llama.cli.arguments import EMBEDDED, Parser, add_dtype, add_model, checkpoint_folder, non_negative_int
from numpy_llama.cli.terminal import note, read_text, visible
from numpy_llama.errors import LlamaError

if TYPE_CHECKING:
    from numpy_llama.study.step import Screen, Session
    from numpy_llama.tokenizer import Tokenizer

DESCRIPTION = """\
Step through a forward pass, value by value, forward and back.

You stand at a value and see its name, its formula, the line of code that makes
it, what it reads, its numbers and a small picture of them. `next` goes on over
whole modules, `into` goes inside one and shows how it was computed, `out` comes
back. Every value is kept, so you can go any way. Change one (`set * 2` or
`zero`), and the model is run again: you see what follows from it.
"""
EPILOG = """\
examples:
  numpy-llama step "Once upon a time"
  numpy-llama step "Once upon a time" --steps 3      and three decode steps
  numpy-llama step "One day" --against theirs.safetensors
  numpy-llama step --trace theirs.safetensors        a trace from a file
  numpy-llama step "One day" --commands walk.txt     a script
  printf 'next\\njump *.weights\\n' | numpy-llama step "One day"

a first walk, to be typed line by line:
  next                     over a value
  jump layers.2            to a whole layer
  into                     and inside it
  jump *.weights           to the attention weights
  watch token 4            where the last token looks, in every head
  zero [0, 7]              what if head 7 looked nowhere?
  undo                     as it was
  read                     to the scores, which they were computed from
  help                     the other commands
"""
SCRIPT_LIMIT = 1024 * 1024  # bytes
PROMPT = "(step) "
REMARK = re.compile(r"(?:^|\s)#")  # "a#b" may be the name of a file


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser(
        "step", help="step through a forward pass, value by value", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("prompt", nargs="?", metavar="text", help="the prompt")
    add_model(parser)
    add_dtype(parser)
    parser.add_argument(
        "--steps", type=non_negative_int, default=0, metavar="N",
        help="decode steps after the prompt, each fed the likeliest token; default: 0",
    )  # fmt: skip
    parser.add_argument("--trace", metavar="FILE", help="step through a trace that was written before, of any model")
    parser.add_argument("--against", metavar="FILE", help="another trace, to hold every value to")
    parser.add_argument(
        "--commands", metavar="FILE",
        help="take the commands from a file, one a line; default: from stdin. The first that fails ends it",
    )  # fmt: skip
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Take commands until they end, and answer them on stdout."""
    script = None if arguments.commands is None else read_script(arguments.commands)
    session = open_session(arguments)
    if arguments.against is not None:
        session.compare_with(arguments.against)
        if session.other_text:
            note(f"--against {arguments.against}: {session.other_text}")
    is_person = script is None and bool(sys.stdin and sys.stdin.isatty())
    if is_person:
        return talk(session)
    if script is None:
        script = ("stdin", (sys.stdin.buffer.read(SCRIPT_LIMIT + 1) if sys.stdin else b""))
    follow(session, *script)
    return 0


def open_session(arguments: argparse.Namespace) -> "Session":
    """The session that the command line asks for: a model run on a prompt, or a trace's file.

    raises  LlamaError where it asks for neither or both
    """
    if (arguments.prompt is None) == (arguments.trace is None):
        found = "neither" if arguments.prompt is None else "both"
        raise LlamaError(
            "what to step through?", expected='a text in quotes ("Once upon a time") or --trace', found=found
        )
    from numpy_llama.checkpoints.auto import AutoConfig
    from numpy_llama.model.causal_lm import LlamaForCausalLM
    from numpy_llama.study.step import Session, first_run
    from numpy_llama.study.trace import read_trace

    if arguments.trace is not None:
        trace = read_trace(arguments.trace)
        for remark in trace.notes:
            note(remark)
        folder = checkpoint_folder(arguments.model)
        known = trace.config == AutoConfig.from_pretrained(folder).to_dict()
        # Whose tokens they are: --model's, where somebody says so or the trace is of that model.
        tokenizer = tokenizer_of(folder) if known or arguments.model != EMBEDDED else None
        return Session(trace, pieces_of(tokenizer))
    if arguments.prompt == "-":
        raise LlamaError("no text", expected="the prompt in quotes: stdin is for commands")
    folder = checkpoint_folder(arguments.model)
    tokenizer = tokenizer_of(folder)
    if tokenizer is None:
        raise LlamaError(
            "this model has no tokenizer, and can't read a text", where=f"--model {arguments.model}",
            expected="a trace, with the ids in it: step --trace FILE (`numpy-llama trace` writes one)",
        )  # fmt: skip
    prompt_ids = tokenizer.encode(read_text(arguments.prompt))
    if not prompt_ids:
        raise LlamaError("no tokens", where="the prompt", expected="at least one")
    run = first_run(LlamaForCausalLM.from_pretrained(folder, arguments.dtype), prompt_ids, arguments.steps)
    return Session(run.trace, pieces_of(tokenizer), run)


def tokenizer_of(folder: Path) -> "Tokenizer | None":
    """A model's tokenizer; None where there is none at all.

    raises  LlamaError for one that can't be read
    """
    from numpy_llama.checkpoints.auto import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except LlamaError as error:
        if error.found == "no tokenizer file" or (
            error.what == "missing metadata" and "tokenizer.ggml" in str(error.where)
        ):
            return None
        raise


def pieces_of(tokenizer: "Tokenizer | None") -> Callable[[int], str]:
    """id → what a token stands for; its number where no tokenizer knows it."""

    def piece(token_id: int) -> str:
        if tokenizer is None or not 0 <= token_id < len(tokenizer):
            return str(token_id)
        return str(tokenizer.convert_ids_to_tokens([token_id])[0])

    return piece


def read_script(name: str) -> tuple[str, bytes]:
    """A file of commands: what to call it in messages, and what is in it."""
    path = Path(name)
    if not path.exists() or path.is_dir():
        raise LlamaError("a folder" if path.is_dir() else "no such file", where=f"--commands {name}")
    with path.open("rb") as file:
        return name, file.read(SCRIPT_LIMIT + 1)


def follow(session: "Session", name: str, script: bytes) -> None:
    """Do what a script says, and write each command with its answer.

    raises  LlamaError naming the line for what can't be done
    """
    from numpy_llama.study.step import execute, view

    if len(script) > SCRIPT_LIMIT:
        raise LlamaError("too long for a script", where=name, expected=f"at most {SCRIPT_LIMIT} bytes")
    try:
        lines = script.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        found = f"0x{error.object[error.start]:02x}"
        raise LlamaError("not valid UTF-8", where=f"{name}, byte {error.start}", found=found) from None
    screen = screen_here()
    print(view(session, screen))
    for number, line in enumerate(lines, start=1):
        print(f"\n{PROMPT}{visible(line)}".rstrip())
        command = without_remark(line)
        if line.strip() and not command:
            continue
        try:
            answer = execute(session, command, screen)
        except LlamaError as error:
            sys.stdout.flush()
            where = f"{name}, line {number}" + (f": {error.where}" if error.where is not None else "")
            raise LlamaError(error.what, where=where, expected=error.expected, found=error.found) from None
        if answer is None:
            break
        print(answer)


def without_remark(line: str) -> str:
    """A command without what follows #."""
    return REMARK.split(line, maxsplit=1)[0].strip()


def talk(session: "Session") -> int:
    """Take commands from a person."""
    from numpy_llama.study.step import execute, view

    with suppress(ImportError):
        import readline  # noqa: F401  # which gives input() a history and keys that move
    print(view(session, screen_here()))
    print("\n`help` lists the commands; an empty line is `next`; Ctrl-D ends.")
    while True:
        try:
            line = input(f"\n{PROMPT}")
        except (EOFError, KeyboardInterrupt):
            print()
            return 0
        except UnicodeDecodeError:
            print("not valid UTF-8")
            continue
        try:
            answer = execute(session, without_remark(line), screen_here())
        except LlamaError as error:
            print(visible(str(error)))
            continue
        except KeyboardInterrupt:
            print("\nstopped; everything is as it was before.")
            continue
        if answer is None:
            return 0
        print(answer)


def screen_here() -> "Screen":
    """What stdout can show, now: a terminal may change its width."""
    from numpy_llama.study.step import Screen

    is_terminal = bool(sys.stdout and sys.stdout.isatty())
    color = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    unicode = (getattr(sys.stdout, "encoding", None) or "ascii").lower().startswith("utf")
    return Screen(shutil.get_terminal_size((80, 24)).columns if is_terminal else 80, color, unicode)
