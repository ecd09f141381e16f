"""`numpy-llama convert`: write a checkpoint in another format."""

import argparse
from pathlib import Path

from numpy_llama.cli.arguments import EMBEDDED, Parser, checkpoint_folder
from numpy_llama.cli.inspect import size
from numpy_llama.cli.terminal import table, visible

DESCRIPTION = """\
Write a checkpoint in another format: as a Hugging Face folder, which
Transformers reads, too, or as a .bin file for Karpathy's llama2.c.

SRC is anything that is read here: a folder of Hugging Face's or Meta's layout,
a .gguf file, a llama2.c .bin file. Formats differ in the names of tensors, in
the order of the rows of queries and keys, and in what they say of the model;
all of that is translated. Numbers stay as they are stored, but for quantized
ones, which become float32; llama2.c has nothing but float32. The tokenizer
goes along.

Nothing that is there already is replaced.
"""
EPILOG = """\
examples:
  numpy-llama convert stories15M.bin stories15M
  numpy-llama convert model.gguf path/to/folder
  numpy-llama convert storyteller storyteller.bin --to llama2.c
"""
FORMATS = {"hf": "a Hugging Face folder", "llama2.c": "a llama2.c .bin file, with tokenizer.bin beside it"}


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser(
        "convert", help="write a checkpoint in another format", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("source", metavar="SRC", help=f"a checkpoint, or {EMBEDDED} for the model on board")
    parser.add_argument("destination", metavar="DST", type=Path, help="the folder or file to write")
    parser.add_argument(
        "--to",
        choices=tuple(FORMATS),
        help="; ".join(f"{name}: {meaning}" for name, meaning in FORMATS.items())
        + "; default: llama2.c where DST ends in .bin, else hf",
    )
    parser.add_argument(
        "--max-shard-size", metavar="SIZE", default="5GB",
        help="with hf: a larger model is written in several files of at most SIZE each; default: 5GB",
    )  # fmt: skip
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Convert, then list what was written on stdout."""
    from numpy_llama.checkpoints.convert import convert_checkpoint

    to = arguments.to or ("llama2.c" if arguments.destination.suffix == ".bin" else "hf")
    source = checkpoint_folder(arguments.source)
    written = convert_checkpoint(source, arguments.destination, to, arguments.max_shard_size)
    print(table([(visible(str(path)), size(path.stat().st_size)) for path in written], "lr", indent=0))
    return 0
