"""`numpy-llama trace`: record every value that a model computes."""

import argparse
import shutil
from pathlib import Path

from numpy_llama.cli.arguments import Parser, add_dtype, add_model, checkpoint_folder, non_negative_int, positive_int
from numpy_llama.cli.terminal import note, read_text
from numpy_llama.errors import LlamaError

DESCRIPTION = """\
See what happens inside a model, number by number.

On its way from token ids to logits, a text passes through some twenty values in
each layer: what attention reads, queries, keys, scores, what the MLP adds. Here
every one is kept under its name, of each call of the model: one call takes in
the prompt (prefill), each later one a token (decode).

Written to a file (--out), such a trace is what another implementation of Llama
can be compared with. Without a file, it is shown as a table: of each value its
shape, least, greatest and mean number, root mean square, and how many are NaN.
"""
EPILOG = """\
examples:
  numpy-llama trace "Once upon a time"
  numpy-llama trace "Once upon a time" --only "model.layers.3.self_attn*"
  numpy-llama trace "Once upon a time" --steps 8 --out x.safetensors
  numpy-llama trace "One day" "Once upon a time" --steps 2    a padded batch
  numpy-llama trace --show x.safetensors --only "*.scores"

A pattern takes * for any letters. It may say which call: "call.0002/*.mlp".
--show reads files of other programs, too: docs/trace-format.md says which.
"""
DEFAULT_STEPS = 1
NARROWEST, WIDEST = 80, 120


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser(
        "trace", help="record every value that a model computes", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument(
        "prompts", nargs="*", metavar="prompt",
        help='the texts, each a row of the batch; "-" or nothing to read one from stdin',
    )  # fmt: skip
    add_model(parser)
    add_dtype(parser)
    parser.add_argument(
        "--steps", type=non_negative_int, metavar="N", default=DEFAULT_STEPS,
        help="calls after the prompt, each with the likeliest next token; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--chunk", type=positive_int, metavar="N", help="take in the prompt in calls of N tokens; default: in one"
    )
    parser.add_argument(
        "--padding-side", choices=("left", "right"), default="left",
        help="where shorter prompts are filled up; default: left",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", metavar="PATTERN",
        help="keep values whose name fits; may be given several times",
    )  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", metavar="FILE", help="write a safetensors file rather than show a table")
    where.add_argument("--show", metavar="FILE", help="show what is in a file or folder; nothing is run")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Record, and show a table on stdout or write a file; or show a file."""
    width = min(max(shutil.get_terminal_size((100, 24)).columns, NARROWEST), WIDEST)
    if arguments.show is not None:
        from numpy_llama.study.trace import read_trace

        if arguments.prompts:
            raise LlamaError("a prompt, where nothing is run", where="--show", found=repr(arguments.prompts[0]))
        print(read_trace(arguments.show).tree(arguments.only, width))
        return 0

    from numpy_llama.checkpoints.auto import AutoConfig, AutoTokenizer
    from numpy_llama.model.arguments import check_vocabulary
    from numpy_llama.model.causal_lm import LlamaForCausalLM
    from numpy_llama.precision import float_dtype
    from numpy_llama.study.trace import trace
    from numpy_llama.study.trace.memory import check_room, size
    from numpy_llama.study.trace.running import calls_to_come, padded, run_prompts

    prompts = [read_text(prompt) for prompt in arguments.prompts or [None]]
    folder = checkpoint_folder(arguments.model)
    config = AutoConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    check_vocabulary(len(tokenizer), config, folder)
    rows = [tokenizer.encode(prompt) for prompt in prompts]
    ids, mask = padded(rows, arguments.padding_side, tokenizer.pad_token_id or 0)

    only, out = tuple(arguments.only or ["*"]), None if arguments.out is None else Path(arguments.out)
    calls = calls_to_come(len(ids), ids.shape[1], arguments.steps, arguments.chunk)
    itemsize = float_dtype(arguments.dtype).itemsize
    check_room(config, calls, itemsize, only, out)
    model = LlamaForCausalLM.from_pretrained(folder, arguments.dtype)
    with trace(only, out) as recorded:
        run_prompts(model, ids, mask, arguments.steps, arguments.chunk)
    if out is None:
        print(recorded.tree(arguments.only, width))
    else:
        note(f"written: {out}, {len(recorded.calls)} calls, {len(recorded)} values, {size(out.stat().st_size)}")
    return 0
