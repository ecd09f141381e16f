"""`numpy-llama generate`: go on with a text."""

import argparse
import random
from typing import TYPE_CHECKING, Any

from numpy_llama.cli.arguments import (
    Parser,
    add_dtype,
    add_model,
    checkpoint_folder,
    fraction,
    non_negative_int,
    non_negative_number,
    positive_int,
    positive_number,
)
from numpy_llama.cli.terminal import note, read_text, warnings_held

if TYPE_CHECKING:
    from numpy_llama.generation.text import TextStream

DESCRIPTION = """\
Go on with a text, one token at a time.

The text becomes token ids. The model turns them into one score (a logit) for
each token of its vocabulary, softmax turns scores into probabilities, one token
is drawn, written, put after the others, and the next round begins. The first
round takes in the whole prompt (prefill); each later one takes in one token
(decode), since the keys and values of the past are kept (the KV cache).
"""
EPILOG = """\
examples:
  numpy-llama generate "Once upon a time"
  numpy-llama generate --greedy "One day"      always the likeliest token
  numpy-llama generate --seed 7 "One day"      the same story every time
  echo "One day" | numpy-llama generate        the prompt from a pipe
  numpy-llama generate --model path/to/llama --dtype bfloat16 "The capital of"

The text goes to stdout; speed and seed go to stderr. Ctrl-C ends the text where
it is.
"""
DEFAULT_TEMPERATURE = 0.8
DEFAULT_NEW_TOKENS = 200
FRESH_SEEDS = 1_000_000  # few enough that one is easily typed again


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser("generate", help="go on with a text", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "prompt",
        nargs="?",
        help='the text to go on with; "-" or nothing to read it from stdin; "" to begin from nothing',
    )
    add_model(parser)
    add_dtype(parser)
    parser.add_argument(
        "--max-new-tokens",
        type=positive_int,
        metavar="N",
        help=f"stop after N tokens; default: {DEFAULT_NEW_TOKENS}, or fewer where the context ends before",
    )
    parser.add_argument(
        "--ignore-eos", action="store_true", help="go on where the model would end the text (for timing)"
    )
    parser.add_argument(
        "--stop", action="append", metavar="TEXT", help="end where TEXT has come; may be given several times"
    )
    parser.add_argument("--quiet", action="store_true", help="no speed and seed on stderr")

    add_choice(parser)
    return parser


def add_choice(parser: argparse.ArgumentParser, unsaid: str = str(DEFAULT_TEMPERATURE)) -> None:
    """--seed, --greedy, and the rules that change what is drawn.

    unsaid  the temperature where neither the command line nor the model says one, in words
    """
    choice = parser.add_argument_group(
        "how a token is chosen",
        "Defaults are those of the model's generation_config.json. Each rule changes\n"
        "scores or rules tokens out, in the order below; one of the rest is drawn.",
    )
    choice.add_argument(
        "--seed", type=non_negative_int, metavar="N", help="of the draws: the same seed tells the same story"
    )
    choice.add_argument("--greedy", action="store_true", help="draw nothing: take the likeliest token each time")
    choice.add_argument(
        "--repetition-penalty", type=positive_number, metavar="R",
        help="above 1: tokens that were there already become less likely",
    )  # fmt: skip
    choice.add_argument(
        "--temperature", type=non_negative_number, metavar="T",
        help="divide scores by T: below 1 safer, above 1 wilder; 0 is --greedy; "
        f"default where the model says nothing: {unsaid}",
    )  # fmt: skip
    choice.add_argument(
        "--top-k",
        type=non_negative_int,
        metavar="K",
        help="keep the K likeliest; 0 keeps all; default where the model says nothing: 50",
    )
    choice.add_argument(
        "--top-p",
        type=fraction,
        metavar="P",
        help="keep the likeliest that together have probability P; 1 keeps all",
    )
    choice.add_argument(
        "--min-p",
        type=fraction,
        metavar="P",
        help="keep those at least P times as likely as the likeliest; 0 keeps all",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write prompt and continuation to stdout as it comes, then speed and seed to stderr."""
    from numpy_llama.checkpoints.auto import AutoConfig, AutoTokenizer
    from numpy_llama.generation.text import TextStream
    from numpy_llama.model.arguments import check_vocabulary
    from numpy_llama.model.causal_lm import LlamaForCausalLM

    # What is quick to check comes first: nobody should wait for seven billion weights to hear of a typo.
    prompt = read_text(arguments.prompt)
    folder = checkpoint_folder(arguments.model)
    config = AutoConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    check_vocabulary(len(tokenizer), config, folder)
    prompt_ids = tokenizer.encode(prompt)
    model = LlamaForCausalLM.from_pretrained(folder, arguments.dtype)
    settings = chosen_settings(arguments, model.generation_config)
    # Where the prompt fills the context, one token is asked for, and the model warns that it wasn't trained so far.
    room = max(1, config.max_position_embeddings - len(prompt_ids))
    settings["max_new_tokens"] = arguments.max_new_tokens or min(DEFAULT_NEW_TOKENS, room)
    seed = random.SystemRandom().randrange(FRESH_SEEDS) if arguments.seed is None else arguments.seed

    stream = TextStream(model, tokenizer, prompt_ids, seed=seed, **settings)
    status = 0
    with warnings_held():
        try:
            for text in stream:
                print(text, end="", flush=True)
        except KeyboardInterrupt:
            status = 130
        print(flush=True)
    if not arguments.quiet:
        report(stream, seed if settings.get("do_sample") else None)
    return status


def chosen_settings(arguments: argparse.Namespace, stored: dict[str, Any]) -> dict[str, Any]:
    """Settings of the token loop: what the command line says, else what the model says, else drawing at 0.8.

    stored  the model's generation_config.json
    """
    drawing = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    drawing = {name: value for name, value in drawing.items() if value is not None}
    settings: dict[str, Any] = {}
    if arguments.repetition_penalty is not None:
        settings["repetition_penalty"] = arguments.repetition_penalty
    if getattr(arguments, "ignore_eos", False):  # a chat's turns have no such options
        settings["eos_token_id"] = None
    if getattr(arguments, "stop", None):
        settings["stop_strings"] = arguments.stop
    for name in ("num_beams", "num_return_sequences"):
        if (stored.get(name) or 1) != 1:
            note(f"warning: one text is written as it comes, so the model's {name}={stored[name]} has no effect")
            settings[name] = 1
    if arguments.greedy or drawing.get("temperature") == 0:
        ignored = [f"--{name.replace('_', '-')}" for name, value in drawing.items() if value]
        if ignored:
            note(f"warning: nothing is drawn, so {', '.join(ignored)} has no effect")
        return {**settings, "do_sample": False}
    settings["do_sample"] = True if drawing or stored.get("do_sample") is None else stored["do_sample"]
    if settings["do_sample"] and not stored.get("do_sample") and stored.get("temperature") is None:
        settings["temperature"] = DEFAULT_TEMPERATURE
    return {**settings, **drawing}


def report(stream: "TextStream", seed: int | None) -> None:
    """How fast it went, why it stopped, and how to see it again."""
    if stream.first_token_seconds is None:
        return
    speeds = [f"prefill {stream.prefill_speed:,.0f} tokens/s"]
    if stream.decode_speed is not None:
        speeds.append(f"decode {stream.decode_speed:,.0f} tokens/s")
    note(", ".join([*speeds, f"first token in {1000 * stream.first_token_seconds:.0f} ms"]))
    ending = "ended by the model" if stream.has_ended else "stopped before the end"
    again = "" if seed is None else f"; the same again: --seed {seed}"
    note(f"{len(stream.prompt_ids)} prompt + {len(stream.new_ids)} new tokens, {ending}{again}")
