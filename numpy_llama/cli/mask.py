"""`numpy-llama mask`: see which token may look at which."""

import argparse

from numpy_llama.cli.arguments import Parser, add_model, checkpoint_folder
from numpy_llama.cli.figure import write_figure
from numpy_llama.cli.terminal import read_text

DESCRIPTION = """\
See which token may look at which.

In attention, each token gathers values from tokens before it, and never from
those after it: otherwise the model could read what it is to guess. The causal
mask says so, a row for each token that looks, a column for each that it may
look at. Shorter texts of a batch are filled up with padding, which nobody may
look at. Several texts packed in one row may not look at each other.

The picture is of the mask that the model makes, not of a drawing of one.
"""
EPILOG = """\
examples:
  numpy-llama mask "Once upon a time"
  numpy-llama mask "One day" "Once upon a time"            a batch of two rows
  numpy-llama mask --packed "One day" "Once upon a time"   two texts in one row
  numpy-llama mask --figure mask.png "Once upon a time"    as a picture file
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser(
        "mask", help="see which token may look at which", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument(
        "texts", nargs="*", metavar="text", help='the texts, after the options; "-" or nothing to read one from stdin'
    )
    add_model(parser)
    parser.add_argument("--packed", action="store_true", help="all texts in one row, kept apart by the mask")
    parser.add_argument(
        "--padding-side", choices=("left", "right"), help="where shorter texts are filled up; default: the tokenizer's"
    )
    parser.add_argument("--figure", metavar="FILE", help="write a figure instead, .png, .svg or .pdf as the name says")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Draw the mask on stdout, or into a file."""
    from numpy_llama.study.attention_mask import AttentionMaskVisualizer

    texts = [read_text(text) for text in arguments.texts or [None]]
    visualizer = AttentionMaskVisualizer(checkpoint_folder(arguments.model))
    options = {"packed": arguments.packed, "padding_side": arguments.padding_side}
    if arguments.figure is None:
        visualizer(texts, **options)
        return 0
    figure = visualizer.figure(texts, **options)
    write_figure(figure, arguments.figure)
    return 0
