"""`numpy-llama diagnose`: which known mistake makes another implementation's logits what they are."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from numpy_llama.cli.arguments import Parser, add_model, checkpoint_folder
from numpy_llama.cli.terminal import note
from numpy_llama.errors import LlamaError
from numpy_llama.precision import DTYPES

if TYPE_CHECKING:
    from numpy_llama.study.diagnose import Diagnosis

DESCRIPTION = """\
Find out which known mistake makes another implementation's logits what they
are.

THEIRS is what the other one computed: token ids and logits of one call or of
several, as a safetensors file or a folder of .npy files (`numpy-llama trace
--help` describes both). The reference is asked the same, once without a mistake
and then with each mistake of the catalogue planted, and pairs of the best. If
one of them makes it give the other one's numbers, that is what is wrong there.
Inner values, if THEIRS has any, are used too, from the first that disagrees.

With --tokens, a tokenizer is judged instead, by the ids that it gave to texts:
a JSON list of {"text": "...", "ids": [...]}, or one such object a line.
"""
EPILOG = """\
status: 0 agrees, no mistake to blame; 1 a mistake found, or a disagreement that
nothing explains; 2 can't be diagnosed

examples:
  numpy-llama diagnose --model my-llama theirs.safetensors
  numpy-llama diagnose --model litmus theirs.safetensors
  numpy-llama diagnose --model smollm2 --dtype bfloat16 theirs.safetensors
  numpy-llama diagnose --model my-llama --tokens texts.json
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser(
        "diagnose", help="name the mistake in another implementation", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("theirs", nargs="?", metavar="THEIRS", type=Path, help="their input_ids and logits")
    add_model(parser)
    parser.add_argument("--tokens", metavar="FILE", type=Path, help="judge a tokenizer by texts and their ids instead")
    parser.add_argument("--no-special", action="store_true", help="their ids have no <s> before the text, on purpose")
    parser.add_argument(
        "--dtype", choices=tuple(DTYPES), help="numbers that they compute in; default: what the file says, or float32"
    )
    parser.add_argument(
        "--all", action="store_true", help="try every mistake, also after one fits, and name those that can't be seen"
    )
    parser.add_argument("--json", action="store_true", help="for programs rather than people")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Write the diagnosis to stdout; returns 0 where it agrees, 1 where not, 130 after Ctrl-C."""
    if (arguments.theirs is None) == (arguments.tokens is None):
        found = "neither" if arguments.theirs is None else "both"
        raise LlamaError("one thing to judge is needed", expected="THEIRS, or --tokens FILE", found=found)
    return _tokens(arguments) if arguments.theirs is None else _logits(arguments)


def _logits(arguments: argparse.Namespace) -> int:
    from numpy_llama.checkpoints.auto import AutoModelForCausalLM
    from numpy_llama.cli.diagnosis_text import as_text
    from numpy_llama.study.diagnose import diagnose
    from numpy_llama.study.trace.reading import read_trace

    model = AutoModelForCausalLM.from_pretrained(checkpoint_folder(arguments.model))
    theirs = read_trace(arguments.theirs, model.config)
    try:
        found: Diagnosis = diagnose(model, theirs, dtype=arguments.dtype, thorough=arguments.all, progress=progress)
    except LlamaError as error:
        if not error.what.endswith("of another model"):
            raise
        ours = f"--model {arguments.model} has a vocabulary of {model.config.vocab_size:,}"
        expected = f"{error.expected}; {ours}" if error.expected is not None else ours
        raise LlamaError(error.what, where=error.where, expected=expected, found=error.found) from None
    progress("")
    print(json.dumps(found.as_dict(), indent=2) if arguments.json else as_text(found, arguments.all))
    if found.interrupted:
        note("stopped before the end of the search")
        return 130
    return 0 if found.verdict == "agrees" else 1


def _tokens(arguments: argparse.Namespace) -> int:
    from numpy_llama.checkpoints.auto import AutoTokenizer
    from numpy_llama.cli.diagnosis_text import tokens_as_text
    from numpy_llama.study.diagnose.tokens import diagnose_tokens, read_tokens

    tokenizer = AutoTokenizer.from_pretrained(checkpoint_folder(arguments.model))
    found = diagnose_tokens(tokenizer, read_tokens(arguments.tokens), around=not arguments.no_special)
    print(
        json.dumps(found.as_dict(), indent=2, ensure_ascii=False)
        if arguments.json
        else tokens_as_text(found, arguments.all)
    )
    return 0 if found.verdict == "agrees" else 1


def progress(line: str) -> None:
    """Show how far it is on the last line of a terminal; an empty line clears it."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r\x1b[K{line[:78]}", end="", file=sys.stderr, flush=True)
