"""`numpy-llama tokenize`: see how a text is cut into tokens."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from numpy_llama.cli.arguments import Parser, add_model, checkpoint_folder
from numpy_llama.cli.terminal import read_text, table, visible

if TYPE_CHECKING:
    from numpy_llama.tokenizer import Tokenizer

DESCRIPTION = """\
See how a text is cut into tokens: the id that the model gets, the piece of the
vocabulary that it stands for, and the bytes that the piece adds to the text.

A space is written as ▁ in a piece, and belongs to the word after it. A
character that no piece spells becomes its UTF-8 bytes, one piece <0x..> each.
The cutting is byte-pair encoding: from single characters, the best neighbouring
pair is merged again and again, as the vocabulary's scores say. (Llama 3 starts
from bytes, and writes each as a letter of its own: a space is Ġ.)

Below the table: whether the ids give the text back, and whether Google's
sentencepiece library, which Llama 1 and 2 were trained with, cuts the same.
"""
EPILOG = """\
examples:
  numpy-llama tokenize "Once upon a time"
  numpy-llama tokenize "naïve 😀"            characters that become bytes
  numpy-llama tokenize --no-legacy " hi"    what transformers 5 does with it
  numpy-llama tokenize --json "Hi" | jq .ids
"""
BYTES_A_LINE = 12


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser(
        "tokenize", help="see how a text is cut into tokens", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("text", nargs="?", help='the text; "-" or nothing to read it from stdin')
    add_model(parser)
    parser.add_argument(
        "--legacy", action=argparse.BooleanOptionalAction,
        help="cut as sentencepiece and Meta's Llama do, or (--no-legacy) as transformers 5 does; default: as "
        "the model's tokenizer_config.json says",
    )  # fmt: skip
    parser.add_argument("--no-special", action="store_true", help="don't add <s> before the text")
    parser.add_argument("--json", action="store_true", help="for programs rather than people")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Write the table of tokens, the round trip and the comparison to stdout."""
    from numpy_llama.checkpoints.auto import AutoTokenizer

    text = read_text(arguments.text)
    overrides = {} if arguments.legacy is None else {"legacy": arguments.legacy}
    tokenizer = AutoTokenizer.from_pretrained(checkpoint_folder(arguments.model), **overrides)
    ids = tokenizer.encode(text, add_special_tokens=not arguments.no_special)
    pieces = tokenizer.convert_ids_to_tokens(ids)
    special = frozenset(tokenizer.all_special_ids)  # they add nothing to a text
    facts: dict[str, Any] = {
        "text": text,
        "legacy": getattr(tokenizer, "legacy", None),
        "ids": ids,
        "pieces": pieces,
        "bytes": ["" if token_id in special else tokenizer.token_bytes(token_id).hex() for token_id in ids],
        "decoded": tokenizer.decode(ids, skip_special_tokens=True),
        "sentencepiece_ids": sentencepiece_ids(tokenizer, text),
        "own_ids": tokenizer.encode(text, add_special_tokens=False),
    }
    print(json.dumps(facts, ensure_ascii=False, indent=2) if arguments.json else as_text(facts))
    return 0


def sentencepiece_ids(tokenizer: "Tokenizer", text: str) -> list[int] | None:
    """What the sentencepiece library makes of the text, without special tokens; None where there are no scores."""
    model = getattr(tokenizer, "model", None)
    if model is None:
        return None
    import sentencepiece

    from numpy_llama.tokenizer.sentencepiece_model import sentencepiece_model_bytes

    library = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model_bytes(model))
    ids: list[int] = library.encode(text)
    return ids


def as_text(facts: dict[str, Any]) -> str:
    """The facts as tables for a person."""
    rows = [("#", "id", "piece", "bytes")]
    for index, (token_id, piece, code) in enumerate(zip(facts["ids"], facts["pieces"], facts["bytes"], strict=True)):
        octets = bytes.fromhex(code).hex(" ").split() or ["(special)"]
        lines = [" ".join(octets[i : i + BYTES_A_LINE]) for i in range(0, len(octets), BYTES_A_LINE)]
        rows.append((str(index), str(token_id), visible(piece), lines[0]))
        rows += [("", "", "", line) for line in lines[1:]]
    text, decoded = facts["text"], facts["decoded"]
    modes = {True: "legacy: as sentencepiece and Meta's Llama", False: "not legacy: as transformers 5", None: "bytes"}
    summary = [
        ("size", f"{len(text)} characters, {len(text.encode())} bytes, {len(facts['ids'])} tokens"),
        ("mode", modes[facts["legacy"]]),
        ("round trip", "the same text" if text == decoded else _first_difference(text, decoded)),
    ]
    if facts["sentencepiece_ids"] is not None:
        summary.append(("sentencepiece", _agreement(facts["own_ids"], facts["sentencepiece_ids"])))
    return table(rows, "rrll") + "\n\n" + table(summary, "ll")


def _first_difference(text: str, decoded: str) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(text, decoded, strict=False)) if a != b),
        min(len(text), len(decoded)),
    )
    before, after = (visible(repr(s[at : at + 12])) if at < len(s) else "the end" for s in (text, decoded))
    return f"differs from character {at} on: {before} became {after}"


def _agreement(ours: list[int], theirs: list[int]) -> str:
    if ours == theirs:
        return "the library gives the same ids"
    pairs = enumerate(zip(ours, theirs, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
    few = slice(at, at + 4)
    return f"the library gives {theirs[few]} where the table has {ours[few]}"
