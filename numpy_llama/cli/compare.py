"""`numpy-llama compare`: find the first value at which another implementation disagrees."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy_llama.checkpoints.known_models import EMBEDDED, INSTALLED, LITMUS
from numpy_llama.cli.arguments import Parser, checkpoint_folder, positive_number
from numpy_llama.cli.figure import write_figure
from numpy_llama.errors import LlamaError
from numpy_llama.precision import DTYPES

if TYPE_CHECKING:
    from numpy_llama.model.causal_lm import LlamaForCausalLM

DESCRIPTION = """\
Find the first value at which another implementation disagrees with ours.

THEIRS is what it computed: a trace file (safetensors, a folder of .npy files,
or what llama.cpp's eval-callback printed), with at least the token ids and one
value of one call. Our model is asked the same, and both are walked in order of
computation: embeddings, layer by layer, logits. What agrees is passed by; the
first value that doesn't is shown, with how and where it differs, and whether
what comes after it only follows from it.

Nobody computes a Llama exactly, so how far an honest run may be away is
measured, at each value: with float64 runs in which every number is moved by its
last bit. Layouts don't matter, heads before positions or after them. A partial
dump will do, and the more values it holds the nearer the mistake is found.
"""
EPILOG = """\
status: 0 all agrees, 1 something disagrees, 2 they can't be compared

examples:
  numpy-llama compare storyteller theirs.safetensors
  numpy-llama compare path/to/llama theirs/ --figure where.png
  numpy-llama compare ours.safetensors theirs.safetensors --model path/to/llama
  numpy-llama compare path/to/llama theirs.safetensors --their-weights x.gguf
  numpy-llama compare path/to/llama generated.json --greedy
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser(
        "compare", help="find where another implementation disagrees", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument(
        "ours", metavar="OURS", help="a model (a checkpoint's folder or file, storyteller, litmus), or a trace of ours"
    )
    parser.add_argument("theirs", metavar="THEIRS", type=Path, help="their trace; with --greedy, what they generated")
    parser.add_argument("--model", metavar="PATH", help="where OURS is a trace: the model, to measure error bars with")
    parser.add_argument(
        "--their-dtype", choices=tuple(DTYPES), help="that they computed in; default: told from their numbers"
    )
    parser.add_argument(
        "--their-weights", metavar="GGUF",
        help="their quantized weights: judge what they predict, beside ours with the same weights dequantized",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", metavar="X", type=positive_number, default=1.0, help="a factor on the error bars; default: 1"
    )
    parser.add_argument(
        "--greedy", action="store_true",
        help="compare greedy texts, up to near-ties. THEIRS is a trace of prefill and decode calls, or JSON: "
        '{"prompt": [ids] or text, "tokens": [ids]}, or a list of these',
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="show every value with its distance")
    parser.add_argument("--json", action="store_true", help="for programs rather than people")
    parser.add_argument("--figure", metavar="FILE", help="draw all values too, into a .png, .svg or .pdf file")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Write the verdict to stdout; returns 0 where both agree, 1 where they don't."""
    if arguments.greedy:
        return _greedy(arguments)
    if arguments.their_weights is not None:
        return _quantized(arguments)
    from numpy_llama.cli.compare_text import as_text
    from numpy_llama.study.compare import compare_traces
    from numpy_llama.study.trace import read_trace

    is_model = _is_model(arguments.ours)
    name = arguments.ours if is_model else arguments.model
    model = None if name is None else _model(name)
    ours = None if is_model else read_trace(Path(arguments.ours), None if model is None else model.config)
    config = model.config if model is not None else None
    comparison = compare_traces(
        read_trace(arguments.theirs, config),
        model,
        ours,
        their_dtype=arguments.their_dtype,
        tolerance=arguments.tolerance,
        decode=None if name is None else _decode(name),
    )
    print(json.dumps(comparison.as_dict(), indent=2) if arguments.json else as_text(comparison, arguments.all))
    if arguments.figure is not None:
        from numpy_llama.study.compare.figure import comparison_figure

        write_figure(comparison_figure(comparison), arguments.figure)
    return comparison.status


def _quantized(arguments: argparse.Namespace) -> int:
    from numpy_llama.cli.compare_text import quantized_text
    from numpy_llama.study.compare.quantized import compare_quantized
    from numpy_llama.study.trace import read_trace

    model = _model(arguments.their_weights)
    if not _is_model(arguments.ours):
        raise LlamaError("not a model", where=arguments.ours, expected="the model that was quantized, or its GGUF file")
    same = checkpoint_folder(arguments.ours) == checkpoint_folder(arguments.their_weights)
    report = compare_quantized(
        read_trace(arguments.theirs, model.config), model, None if same else _model(arguments.ours)
    )
    if arguments.json:
        print(json.dumps({"status": report.status, "allowed": report.allowed, **_fields(report)}, indent=2))
    else:
        print(quantized_text(report, str(arguments.theirs)))
    return report.status


def _fields(report: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(report)


def _greedy(arguments: argparse.Namespace) -> int:
    from numpy_llama.cli.compare_text import greedy_text
    from numpy_llama.study.compare.greedy_texts import compare_greedy, read_greedy

    name = arguments.ours if _is_model(arguments.ours) else arguments.model
    if name is None:
        raise LlamaError("no model", where=f"--greedy {arguments.ours}", expected="a model, to ask what it would say")
    model, tokenizer = _model(name), _tokenizer(name)
    texts = read_greedy(arguments.theirs, None if tokenizer is None else tokenizer.encode)
    dtype = arguments.their_dtype or "float32"
    reports = [compare_greedy(model, prompt, tokens, dtype) for prompt, tokens in texts]
    if arguments.json:
        print(json.dumps({"texts": [report.as_dict() for report in reports]}, indent=2))
    else:
        print(greedy_text(reports, str(arguments.theirs), _decode(name)))
    return max(report.status for report in reports)


def _is_model(name: str) -> bool:
    """Whether OURS is a model; otherwise it is a trace."""
    path = Path(name)
    if name in (EMBEDDED, LITMUS, *INSTALLED):
        return True
    if path.is_dir():
        return (path / "config.json").exists() or (path / "params.json").exists()
    return path.suffix in (".gguf", ".bin") or not path.exists()


def _model(name: str) -> "LlamaForCausalLM":
    from numpy_llama.model.causal_lm import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(checkpoint_folder(name), "float32")


def _tokenizer(name: str) -> Any:
    """The model's tokenizer; None where it has none that can be read."""
    from numpy_llama.checkpoints.auto import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(checkpoint_folder(name))
    except (LlamaError, OSError):
        return None


def _decode(name: str) -> Callable[[int], str] | None:
    tokenizer = _tokenizer(name)
    return None if tokenizer is None else lambda token: str(tokenizer.decode([token]))
