"""`numpy-llama inspect`: see what a model is made of, without running it."""

import argparse
import json
from typing import Any

from numpy_llama.cli.arguments import EMBEDDED, Parser, checkpoint_folder, positive_int
from numpy_llama.cli.terminal import table, visible

DESCRIPTION = """\
See what a model is made of: its config, its parameters block by block, the
memory that weights and KV cache take, and the arithmetic behind one token.

Of a checkpoint only the config and the headers of its files are read, so even a
large one takes no time. A preset needs no files at all.
"""
EPILOG = """\
examples:
  numpy-llama inspect                          the model on board
  numpy-llama inspect --preset llama-2-7b
  numpy-llama inspect --preset 3.1-8b --context 8192
  numpy-llama inspect --model path/to/llama --json
"""
# Field of the config, letter that it has in shapes.
SIZES = (
    ("vocab_size", "V"),
    ("hidden_size", "E"),
    ("intermediate_size", "F"),
    ("num_hidden_layers", "L"),
    ("num_attention_heads", "H"),
    ("num_key_value_heads", "K"),
    ("head_dim", "D"),
    ("max_position_embeddings", ""),
)
OTHER_FIELDS = ("hidden_act", "rms_norm_eps", "tie_word_embeddings", "attention_bias", "mlp_bias")
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser(
        "inspect", help="see what a model is made of", description=DESCRIPTION, epilog=EPILOG
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--model", metavar="PATH", default=EMBEDDED,
        help=f"a checkpoint: a folder of Hugging Face's or Meta's layout, a .gguf file or a llama2.c .bin file; "
        f"default: {EMBEDDED}, the small model on board",
    )  # fmt: skip
    which.add_argument(
        "--preset", metavar="NAME",
        help="a known model without its weights: llama-1-7b, llama-2-7b, llama-2-70b, llama-3.1-8b, "
        "llama-3.2-1b (2-7b for short, and so on) or smollm2-135m",
    )  # fmt: skip
    parser.add_argument(
        "--context", type=positive_int, metavar="S",
        help="tokens of text to count cache and operations for; default: as many as the model was trained on",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs rather than people")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Write config, parameters, memory and operations to stdout."""
    from numpy_llama.study.inspection import inspect_checkpoint, inspect_model
    from numpy_llama.study.presets import find_preset

    if arguments.preset is not None:
        name, preset = find_preset(arguments.preset)
        config = preset.config
        origin: dict[str, Any] = {"published_parameters": preset.published_parameters}
    else:
        folder = checkpoint_folder(arguments.model)
        checkpoint = inspect_checkpoint(folder)
        name, config = folder.resolve().name, checkpoint.config
        origin = {
            "format": checkpoint.format,
            "files": [file.name for file in checkpoint.files],
            "file_bytes": checkpoint.file_bytes,
            "stored_dtypes": checkpoint.stored_dtypes,
        }
    facts = {"name": name, **inspect_model(config, arguments.context), **origin}
    print(json.dumps(facts, indent=2) if arguments.json else as_text(facts))
    return 0


def as_text(facts: dict[str, Any]) -> str:
    """The facts as tables for a person."""
    parts = [
        f"{visible(facts['name'])}: a Llama of {facts['parameters']['total']:,} parameters",
        "Config\n" + _config(facts["config"]),
        "Parameters\n" + _parameters(facts),
        "Memory\n" + _memory(facts),
        "Operations for one token, with the KV cache\n" + _operations(facts["operations"]),
    ]
    return "\n\n".join(parts)


def _config(config: dict[str, Any]) -> str:
    rows = [(letter, name, f"{config[name]:,}") for name, letter in SIZES]
    rows += [("", name, _plain(config[name])) for name in OTHER_FIELDS]
    rows += [("", name, _plain(value)) for name, value in config["rope_parameters"].items()]
    rows += [("", name, _plain(config[name])) for name in ("bos_token_id", "eos_token_id", "pad_token_id")]
    return table(rows, "llr")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.10g}"
    return "none" if value is None else visible(str(value))


def _parameters(facts: dict[str, Any]) -> str:
    total = facts["parameters"]["total"]
    rows = [("block", "shape", "each", "×", "total", "share")]
    for block in facts["parameters"]["blocks"]:
        rows.append(
            (
                block["block"],
                " × ".join(str(size) for size in block["shape"]),
                f"{block['each']:,}",
                str(block["copies"]),
                f"{block['total']:,}",
                f"{block['total'] / total:.1%}",
            )
        )
    if facts["config"]["tie_word_embeddings"]:
        rows.append(("lm_head", "embed_tokens", "", "", "tied", ""))
    rows.append(("total", "", "", "", f"{total:,}", ""))
    if "published_parameters" in facts:
        published = facts["published_parameters"]
        rows.append(("published", "", "", "", f"{published:,}", "equal" if published == total else "differs"))
    return table(rows, "llrrrr")


def _memory(facts: dict[str, Any]) -> str:
    memory = facts["memory"]
    lines = (
        ("weights", "weights"),
        ("KV cache of one token", "cache_per_token"),
        (f"KV cache of {memory['context']:,} tokens", "cache"),
    )
    rows = [("", *memory["bytes"])]
    rows += [(label, *(size(of_dtype[key]) for of_dtype in memory["bytes"].values())) for label, key in lines]
    text = table(rows, "lrrrr")
    if "file_bytes" in facts:
        stored = ", ".join(sorted(facts["stored_dtypes"]))
        files, bytes_on_disk = facts["files"], size(facts["file_bytes"])
        takes, its = (f"{visible(files[0])} takes", "its") if len(files) == 1 else (f"{len(files)} files take", "their")
        text += f"\n\n  {takes} {bytes_on_disk}; {its} numbers are stored as {stored}."
    return text


def _operations(operations: dict[str, Any]) -> str:
    total = operations["total_multiply_adds"]
    rows = [("block", "multiply-adds", "share")]
    rows += [(block, f"{n:,}", f"{n / total:.1%}") for block, n in operations["multiply_adds"].items()]
    rows.append(("total", f"{total:,}", ""))
    rows.append(("floating-point operations", f"{operations['flops']:,}", ""))
    rows.append(("rule of thumb: 2 × parameters", f"{operations['rule_of_thumb']:,}", ""))
    return f"  (token {operations['context']:,} of a text; only scores and context grow with the text)\n" + table(
        rows, "lrr"
    )


def size(count: int) -> str:
    """Bytes as a person reads them: 13.48 GB. Units are powers of 1000."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.2f} {UNITS[unit]}"
