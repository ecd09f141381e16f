"""`numpy-llama bench`: how fast it runs here."""

import argparse
import json
from typing import Any

from numpy_llama.cli.arguments import Parser, add_model, checkpoint_folder, positive_int
from numpy_llama.cli.terminal import note, table

DESCRIPTION = """\
How fast the model on board runs on this machine, in tokens per second; and,
where torch and transformers are installed, how fast it runs there in the same
minute.

  prefill    a prompt of 256 tokens in one call
  decode     200 tokens, one call each, in a bare loop with the KV cache
  generate   200 tokens by the library's own generate

All compute in float32 and take the likeliest token. They take turns, and the
best round of each counts. Then fresh processes tell a story of 200 tokens,
timed from their start. In a model this small, most of the time goes into the
calls around the arithmetic, not into the arithmetic.
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser("bench", help="see how fast it runs here", description=DESCRIPTION)
    add_model(parser)
    parser.add_argument(
        "--rounds", type=positive_int, metavar="N", default=5, help="times that each task is done; default: 5"
    )
    parser.add_argument("--json", action="store_true", help="for programs rather than people")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Write a table of speeds to stdout, progress to stderr."""
    from numpy_llama.checkpoints.auto import AutoConfig
    from numpy_llama.study.bench import as_dict, compare, contestants, time_process

    folder = checkpoint_folder(arguments.model)
    config = AutoConfig.from_pretrained(folder)
    found = contestants(folder)
    first = config.bos_token_id if config.bos_token_id is not None else 0
    result = compare(
        found,
        arguments.rounds,
        config.vocab_size,
        first,
        lambda number: note(f"round {number + 1} of {arguments.rounds}"),
    )
    note("fresh processes")
    facts = as_dict(result, time_process(folder, arguments.rounds))
    print(json.dumps(facts, indent=2) if arguments.json else as_text(facts))
    return 0


def as_text(facts: dict[str, Any]) -> str:
    """The facts as tables for a person."""
    tasks = facts["tokens"]
    rows = [("tokens/s", *(f"{task} {tokens}" for task, tokens in tasks.items()))]
    for name, speeds in facts["tokens_per_second"].items():
        rows.append((name, *(f"{speeds[task]:,.0f}" for task in tasks)))
    for name, ratios in facts["ratios"].items():
        rows.append((f"ours / {name}", *(f"{ratios[task]:.2f}×" for task in tasks)))
    text = table(rows, "l" + "r" * len(tasks), indent=0)
    if facts["same_tokens"] is None:
        text += "\n(torch and transformers aren't installed: nothing to compare with)"
    else:
        text += f"\nsame tokens chosen: {'yes' if facts['same_tokens'] else 'NO'}"
    seconds = facts["process_seconds"]
    rows = [
        ("a fresh process, from its start", "seconds"),
        ("  to the first token", f"{seconds['first_token']:.2f}"),
        ("  to the end of 200 tokens", f"{seconds['whole']:.2f}"),
    ]
    if seconds["cpu"] is not None:
        rows.append(("  processor time, all threads", f"{seconds['cpu']:.2f}"))
    return text + "\n\n" + table(rows, "lr", indent=0)
