"""A tokenizer.json of Llama 2's kind: what transformers 5 takes from it for its class LlamaTokenizer.

    model.vocab, model.merges   the pieces by id, and the order of merging. A file that transformers 4 wrote is in order
                     of score, as sentencepiece is: "a  b" is ▁a ▁ ▁b. From a tokenizer.model alone transformers 5 makes
                     another: ▁a ▁▁ b
    post_processor   the special tokens around a text; add_bos_token and add_eos_token of the settings don't count
    added_tokens     where tokenizer_config.json lists none

The rest is what the class does itself. There are two ways to write the spaces as ▁, and files with either:

    older   normalizer     Prepend ▁, Replace " " by ▁
    newer   pre_tokenizer  Metaspace, prepend_scheme "first", split false

Both are read as the newer one, which the class puts in their place. They differ behind a special token: the older puts
a ▁ before every stretch of text, the newer before the first alone. Where a folder names the class
PreTrainedTokenizerFast, transformers takes the file as it stands, and so does this package: `prepend`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy_llama.errors import LlamaError
from numpy_llama.files import read_json
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.bpe import SPACE
from numpy_llama.tokenizer.folder_settings import read_token, written_token
from numpy_llama.tokenizer.piece_list import PieceList, checked_merges, piece_list
from numpy_llama.tokenizer.sentencepiece_model import SentencePieceModel
from numpy_llama.tokenizer.template import Template, read_template, write_template

if TYPE_CHECKING:
    from numpy_llama.tokenizer.llama_tokenizer import LlamaTokenizer

TOKENIZER_JSON = "tokenizer.json"
PREPEND = {"type": "Prepend", "prepend": SPACE}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
DECODERS = [
    {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
]
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
STEPS = {  # what a file of this kind may do to a text; anything else would be left out in silence
    "normalizer": ("Prepend", "Replace", "Sequence"),
    "pre_tokenizer": ("Metaspace", "Sequence"),
}


@dataclass(frozen=True)
class TokenizerJson:
    """What is taken from the file.

    added    {id: token}
    prepend  before which stretches of text the file puts a ▁: see PREPEND in llama_tokenizer.py; None: it does
             something to a text that the class doesn't
    """

    pieces: PieceList
    merges: list[tuple[str, str]]
    template: Template
    added: dict[int, AddedToken]
    prepend: str | None


def read_tokenizer_json(path: Path, model: SentencePieceModel | None = None) -> TokenizerJson:
    """Read a tokenizer.json; model: the tokenizer.model beside it, whose vocabulary has to be the same.

    raises  LlamaError naming file and field, where the file is damaged, another kind of tokenizer, or doesn't fit
    """
    content = read_json(path)
    inside = content.get("model")
    kind = inside.get("type") if isinstance(inside, dict) else None
    if not isinstance(inside, dict) or kind != "BPE":
        raise LlamaError("another kind of tokenizer", where=f"{path}: model.type", expected="BPE", found=str(kind)[:80])
    for step, known in STEPS.items():
        _check_steps(content.get(step), known, f"{path}: {step}")
    added = read_added(content.get("added_tokens"), path)
    vocab = inside.get("vocab")
    if model is not None and vocab != {piece: index for index, piece in enumerate(model.pieces)}:
        raise LlamaError("another vocabulary than the tokenizer.model beside it", where=f"{path}: model.vocab")
    if isinstance(vocab, dict):  # an added token may sit in a gap of the vocabulary
        taken = {index for index in vocab.values() if type(index) is int}
        top = max(taken, default=-1)
        gaps = {token.content: index for index, token in added.items() if index < top and index not in taken}
        vocab = {**gaps, **vocab}
    pieces = piece_list(vocab, f"{path}: model.vocab")
    merges = checked_merges(inside.get("merges"), pieces.pieces, f"{path}: model.merges")
    template = read_template(content.get("post_processor"), f"{path}: post_processor") or Template()
    size = max(len(pieces.pieces), *(index + 1 for index in added), 0)
    if any(isinstance(part, int) and part >= size for part, _ in (*template.single, *template.pair)):
        raise LlamaError("a special token that has no id", where=f"{path}: post_processor", expected=f"below {size}")
    prepend = _prepend(content) if pieces.byte_fallback and inside.get("byte_fallback") is True else None
    if prepend == "every" and any(token.normalized for token in added.values()):
        prepend = None  # such tokens are looked for with a ▁ before them
    return TokenizerJson(PieceList(pieces.pieces, pieces.byte_fallback, str(path)), merges, template, added, prepend)


def tokenizer_json_bytes(tokenizer: "LlamaTokenizer") -> bytes:
    """The tokenizer.json of a tokenizer, as the `tokenizers` library reads it."""
    space = tokenizer.add_prefix_space
    older = space and tokenizer.prepend == "every"
    metaspace = {
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": tokenizer.prepend if space else "never",
        "split": False,
    }
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, **written_token(token)} for index, token in tokenizer.added_tokens_decoder.items()
        ],
        "normalizer": {"type": "Sequence", "normalizers": [PREPEND, REPLACE]} if older else None,
        "pre_tokenizer": None if older else metaspace,
        "post_processor": write_template(tokenizer._template(), tokenizer._tokens),
        "decoder": {
            "type": "Sequence",
            "decoders": [*DECODERS, STRIP] if space else DECODERS,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: index for index, piece in enumerate(tokenizer._tokens[: tokenizer.vocab_size])},
            "merges": [list(pair) for pair in tokenizer.merges or ()],
        },
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def _prepend(content: dict[str, Any]) -> str | None:
    """Before which stretches the file's own steps put a ▁; None where these steps aren't one of the known rows."""
    before, spaces, after = (content.get(step) for step in ("normalizer", "pre_tokenizer", "decoder"))
    decoders = after.get("decoders") if isinstance(after, dict) else None
    if before is None and isinstance(spaces, dict):
        known = {"type": "Metaspace", "replacement": SPACE, "split": False}
        prepend = spaces.get("prepend_scheme") if {**spaces, **known} == spaces else None
    else:
        steps = before.get("normalizers", [before]) if isinstance(before, dict) else None
        prepend = {True: "every", False: "never"}.get(PREPEND in steps) if isinstance(steps, list) else None
        if spaces is not None or steps not in ([PREPEND, REPLACE], [REPLACE]):
            prepend = None
    if prepend not in ("first", "always", "every", "never"):
        return None
    return prepend if decoders == ([*DECODERS, STRIP] if prepend != "never" else DECODERS) else None


def _check_steps(step: object, known: tuple[str, ...], where: str) -> None:
    """raises  LlamaError where a file does something else to a text"""
    if step is None:
        return
    kind = step.get("type") if isinstance(step, dict) else None
    if not isinstance(step, dict) or kind not in known:
        expected = f"{' or '.join(known)}; AutoTokenizer chooses the class by the files"
        found = repr(step if kind is None else kind)[:80]
        raise LlamaError("another kind of tokenizer", where=where, expected=expected, found=found)
    if kind == "Sequence":
        steps = step.get("normalizers", step.get("pretokenizers"))
        if not isinstance(steps, list):
            raise LlamaError("no list", where=where, found=repr(steps)[:80])
        for one in steps:
            _check_steps(one, known[:-1], where)


def read_added(listed: object, path: Path) -> dict[int, AddedToken]:
    """{id: token} of the added_tokens of a tokenizer.json.

    raises  LlamaError where it is no list, an id is no number or there twice, or a token is none
    """
    where = f"{path}: added_tokens"
    if listed is None:
        return {}
    if not isinstance(listed, list):
        raise LlamaError("no list", where=where, found=repr(listed)[:80])
    added: dict[int, AddedToken] = {}
    for value in listed:
        index: Any = value.get("id") if isinstance(value, dict) else None
        if type(index) is not int or not 0 <= index < 2**31 or index in added:
            raise LlamaError("no token id", where=where, expected="a number of its own", found=repr(value)[:80])
        added[index] = read_token(value, path, "added_tokens")
    return added
