"""`numpy-llama quantize`: see what a model loses, and what memory it saves, with its weights in 4 or 8 bits."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from numpy_llama.blocks.quantized_weight import BITS, GROUP_SIZES
from numpy_llama.cli.arguments import Parser, add_model, checkpoint_folder
from numpy_llama.cli.figure import write_figure
from numpy_llama.cli.terminal import read_text, table, visible
from numpy_llama.errors import LlamaError

if TYPE_CHECKING:
    from numpy_llama.study.quantization import QuantizationReport

DESCRIPTION = """\
See what a model loses, and what memory it saves, with its weights in 4 or 8
bits.

Each matrix of attention and MLP is cut into groups of neighbours in a row. The
numbers of a group are rounded to 16 (or 256) that lie evenly from its smallest
to its largest. The table says how far that moves each matrix, in percent of its
length; the perplexity, among how many equally likely tokens the model hesitates
at each token of a text, says what it does to the model.
"""
EPILOG = """\
examples:
  numpy-llama quantize
  numpy-llama quantize --bits 8 --group-size 32
  numpy-llama quantize --model smollm2 --text essay.txt --plot error.png

In Python: LlamaForCausalLM.from_pretrained(folder, quantization="int4",
group_size=128), and save_pretrained keeps it so.
"""
COLUMNS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MEGABYTE = 1_000_000


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser(
        "quantize",
        help="see what weights in 4 or 8 bits lose and save",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add_model(parser)
    parser.add_argument("--bits", type=int, choices=BITS, default=4, help="bits of a weight; default: 4")
    parser.add_argument(
        "--group-size",
        type=int,
        choices=GROUP_SIZES,
        default=128,
        help="numbers of a row that share a scale; default: 128",
    )
    parser.add_argument("--symmetric", action="store_true", help="no zeros: 0 stays 0, and each group saves a number")
    parser.add_argument(
        "--text",
        metavar="FILE",
        help='what the perplexity is measured on, "-" to read it from stdin; default: stories on board',
    )
    parser.add_argument("--plot", metavar="FILE", help="draw it, too, as .png, .svg or .pdf as the name says")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print the table to stdout, and draw it into a file."""
    from numpy_llama.model.quantization import Quantization
    from numpy_llama.study.quantization import report_on

    quantization = Quantization(arguments.bits, arguments.group_size, arguments.symmetric)
    texts = None if arguments.text is None else [_text(arguments.text)]
    path = checkpoint_folder(arguments.model)
    report = report_on(path, quantization, texts)
    kind = "symmetric" if quantization.symmetric else "asymmetric"
    title = f"{path.resolve().name}: int{quantization.bits}, groups of {quantization.group_size}, {kind}"
    print(f"{visible(title)}\n\n{as_text(report)}")
    if arguments.plot is not None:
        _draw(report, title, arguments.plot)
    return 0


def as_text(report: "QuantizationReport") -> str:
    """The report as tables for a person."""
    errors = {(one.layer, one.name): one.relative for one in report.matrices}
    layers = sorted({one.layer for one in report.matrices})
    rows: list[tuple[str, ...]] = [("layer", *COLUMNS)]
    rows += [(str(layer), *(f"{errors[layer, name]:.2%}" for name in COLUMNS)) for layer in layers]
    means = (sum(errors[layer, name] for layer in layers) / len(layers) for name in COLUMNS)
    rows.append(("mean", *(f"{mean:.2%}" for mean in means)))
    before, after = report.perplexities
    summary = [
        ("", "float32", f"int{report.quantization.bits}"),
        ("bits a weight, with scales and zeros", "32", f"{report.bits_per_weight:.2f}"),
        ("these matrices", *(f"{size / MEGABYTE:,.2f} MB" for size in report.matrix_bytes)),
        ("the whole model", *(f"{size / MEGABYTE:,.2f} MB" for size in report.model_bytes)),
        (f"perplexity of {before.tokens:,} tokens", f"{before.value:.4f}", f"{after.value:.4f}"),
    ]
    return (
        "Relative error of each matrix\n" + table(rows, "l" + "r" * len(COLUMNS)) + "\n\n"
        "Before and after\n" + table(summary, "lrr")
    )


def _text(name: str) -> str:
    """The text of a file.

    raises  LlamaError where it can't be read, or isn't UTF-8
    """
    if name == "-":
        return read_text(None)
    try:
        return Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        found = f"byte {error.start}, 0x{error.object[error.start]:02x}"
        raise LlamaError("not valid UTF-8", where=f"--text {name}", found=found) from None
    except (OSError, ValueError) as error:
        raise LlamaError(f"can't be read ({getattr(error, 'strerror', error)})", where=f"--text {name}") from None


def _draw(report: "QuantizationReport", title: str, name: str) -> None:
    from numpy_llama.study.quantization_figure import quantization_figure

    write_figure(quantization_figure(report, title), name, "--plot")
